// The few functions of Preact, htm and signals that the pages use, from one place.
import { h, render } from "../vendor/preact.mjs";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/hooks.mjs";
import { computed, effect, signal } from "../vendor/signals.mjs";
import htm from "../vendor/htm.mjs";

/** Markup as a tagged template. Values are always text or attributes, never markup. */
export const html = htm.bind(h);
export {
  computed,
  effect,
  h,
  render,
  signal,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
};
