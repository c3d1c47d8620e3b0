// Buttons, and small things that are clicked.
import { html, useState } from "../lib/html.js";
import { may } from "../lib/api.js";
import { visible } from "../lib/foreign_text.js";
import { connection } from "../lib/live.js";
import { Icon } from "./icon.js";

export function Button({
  onClick,
  children,
  kind = "",
  icon,
  disabled,
  label,
  small,
  title,
  pressed,
  focused,
}) {
  return html`<button
    type="button"
    class=${`btn ${kind} ${small ? "small" : ""}`}
    onClick=${onClick}
    disabled=${disabled}
    aria-label=${label}
    title=${title || label}
    aria-pressed=${pressed}
    autofocus=${focused}
  >
    ${icon && html`<${Icon} name=${icon} />`}${children && html`<span>${children}</span>`}
  </button>`;
}

/** A button that changes something: absent without the right to, and off while not connected. */
export function Action({ call, disabled, title, kind = "", ...rest }) {
  if (!may(call)) return null;
  const isLost = connection.value === "lost";
  return html`<${Button}
    ...${rest}
    kind=${`${kind} action`}
    disabled=${disabled || isLost}
    title=${isLost ? "Not while the connection is lost" : title}
  />`;
}

export function Copy({ text, what }) {
  const [icon, setIcon] = useState("copy");
  const copy = async () => {
    // Without TLS a browser has no clipboard for pages; the text can still be selected.
    const copied = await navigator.clipboard?.writeText(text).then(
      () => true,
      () => false,
    );
    setIcon(copied ? "completed" : "close");
    setTimeout(() => setIcon("copy"), 1200);
  };
  const label = icon === "close" ? "Not copied: select the text instead" : `Copy ${what}`;
  return html`<button
    type="button"
    class="copy"
    aria-label=${label}
    title=${label}
    onClick=${copy}
  >
    <${Icon} name=${icon} />
  </button>`;
}

/** The same on the command line: whoever clicks learns to script. */
export function Cli({ command }) {
  return html`<p class="cli">
    <span class="sr">On the command line: </span><code>${visible(command)}</code>
    <${Copy} text=${command} what="command" />
  </p>`;
}

/** A choice between views of the same thing, each with an address. */
export function Choice({ label, options, current }) {
  return html`<div class="seg" role="group" aria-label=${label}>
    ${options.map(
      ([value, name, href]) => html`<a
        key=${value}
        href=${href}
        aria-current=${value === current ? "true" : undefined}
        >${name}</a
      >`,
    )}
  </div>`;
}

/** A field that narrows what the page shows. */
export function FilterBox({ label, value, onInput }) {
  return html`<label class="filterbox">
    <${Icon} name="search" /><span class="sr">${label}</span>
    <input
      data-filter
      placeholder=${`${label} …`}
      value=${value}
      onInput=${(event) => onInput(event.target.value)}
    />
  </label>`;
}
