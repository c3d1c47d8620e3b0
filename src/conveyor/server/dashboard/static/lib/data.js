// Reads what a page shows, again while it lives, and keeps the last answer while the server is away.
import { useEffect, useRef, useState } from "./html.js";
import { get } from "./api.js";
import { now } from "./format.js";
import { beat } from "./live.js";

// A read that takes long is repeated less often: it may take a fifth of the time.
const SHARE = 5;

/**
 * Call `read()` now and about every `every` seconds (0: never again), as long as `key` is the same.
 * Returns { data, error, isLoading, at, reload }.
 */
export function useRead(key, read, every = 1) {
  const [box, setBox] = useState({ key: null });
  const state = useRef({ isBusy: false, notBefore: 0 });
  const tick = every > 0 ? beat.value : 0;
  const load = async () => {
    const current = state.current;
    current.isBusy = key;
    const began = performance.now();
    try {
      const data = await read();
      if (current.key === key) setBox({ key, data, at: now() });
    } catch (error) {
      if (current.key !== key || error.name === "AbortError") return;
      // Without a connection the last answer stays: the banner says how old it is.
      setBox((old) => (error.status === 0 && old.key === key && old.data ? old : { key, error }));
    } finally {
      if (current.isBusy === key) current.isBusy = false;
      const ended = performance.now();
      current.notBefore = ended + Math.max(every * 1000 - 200, SHARE * (ended - began));
    }
  };
  useEffect(() => {
    const current = state.current;
    const isNew = current.key !== key;
    current.key = key;
    if (isNew || (current.isBusy !== key && performance.now() >= current.notBefore)) load();
  }, [key, tick]);
  useEffect(() => () => (state.current.key = null), []);
  if (box.key === key) return { ...box, isLoading: false, reload: load };
  return { isLoading: true, reload: load };
}

/** Read one path of the API; see useRead. */
export function useData(path, params = {}, every = 1) {
  const key = path + JSON.stringify(params);
  return useRead(key, () => get(path, params), every);
}
