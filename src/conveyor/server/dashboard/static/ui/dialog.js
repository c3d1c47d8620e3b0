// What lies over the page: questions before something is done, and messages about what was done.
import { html, signal, useEffect, useLayoutEffect, useRef, useState } from "../lib/html.js";
import { beat } from "../lib/live.js";
import { visible } from "../lib/foreign_text.js";
import { Action, Button, Cli } from "./button.js";

const question = signal(null);
const messages = signal([]);
let lastMessage = 0;

export function Modal({ title, close, children, foot, kind = "" }) {
  const box = useRef();
  useLayoutEffect(() => {
    const dialog = box.current;
    const before = document.activeElement;
    dialog.showModal();
    const first =
      dialog.querySelector("[autofocus]") || dialog.querySelector(".body input, textarea");
    first?.focus();
    return () => {
      if (dialog.open) dialog.close();
      before?.focus?.();
    };
  }, []);
  return html`<dialog
    ref=${box}
    class=${`modal ${kind}`}
    aria-labelledby="modal-title"
    onClose=${close}
    onClick=${(event) => event.target === box.current && close()}
  >
    <form method="dialog" onSubmit=${(event) => event.preventDefault()}>
      <header>
        <h2 id="modal-title">${title}</h2>
        <${Button} kind="ghost" icon="close" label="Close" onClick=${close} />
      </header>
      <div class="body">${children}</div>
      ${foot && html`<footer>${foot}</footer>`}
    </form>
  </dialog>`;
}

/**
 * Ask before something is done. `call` is the call of the API, `run(reason)` does it, `done` says
 * so afterwards. `typed` has to be typed first. `needsNoReason` leaves out the field for one.
 */
export function ask(options) {
  question.value = options;
}

/** Ask what `question()` returns once it has read what it says, or tell why it cannot be asked. */
export async function askAfter(question) {
  try {
    ask(await question());
  } catch (error) {
    tellError(error);
  }
}

export function Question() {
  const asked = question.value;
  const [reason, setReason] = useState("");
  const [typed, setTyped] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  useEffect(() => {
    setReason("");
    setTyped("");
    setBusy(false);
    setError(null);
  }, [asked]);
  if (asked === null) return null;
  const close = () => (question.value = null);
  const isTyped = !asked.typed || typed.replace(/[\s,.]/g, "") === asked.typed;
  const run = async () => {
    setBusy(true);
    try {
      const message = await asked.run(reason.trim());
      close();
      tell(message || asked.done, asked.undo);
      beat.value += 1;
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  const foot = html`<${Button} onClick=${close}>Keep as it is<//>
    <${Action}
      call=${asked.call}
      kind=${asked.isHarmful ? "harm" : "main"}
      disabled=${isBusy || !isTyped}
      onClick=${run}
      >${isBusy ? "Working …" : asked.yes}<//
    >`;
  return html`<${Modal} title=${asked.title} close=${close} foot=${foot}>
    ${typeof asked.body === "function" ? asked.body() : asked.body}
    ${
      !asked.needsNoReason &&
      html`<label class="field">
      Reason, for the audit (optional)
      <input
        name="reason"
        value=${reason}
        maxlength="200"
        onInput=${(event) => setReason(event.target.value)}
      />
    </label>`
    }
    ${
      asked.typed &&
      html`<label class="field">
      <span>Type <strong>${asked.typed}</strong> to go on</span>
      <input
        name="typed"
        value=${typed}
        inputmode="numeric"
        autocomplete="off"
        onInput=${(event) => setTyped(event.target.value)}
      />
    </label>`
    }
    ${asked.command && html`<${Cli} command=${asked.command} />`}
    ${
      error &&
      html`<p class="error" role="alert">${error.title}. ${visible(error.detail || "")}</p>`
    }
  <//>`;
}

/** Do something at once, and say so; `undo` offers to take it back. */
export async function act(run, done, undo) {
  try {
    await run();
    tell(done, undo);
    beat.value += 1;
  } catch (error) {
    tellError(error);
  }
}

/** Show why something could not be done. */
export const tellError = (error) =>
  tell(`${error.title || error.message}. ${visible(error.detail || "")}`);

/** Show a message for some seconds. */
export function tell(text, undo) {
  lastMessage += 1;
  const message = { id: lastMessage, text, undo };
  messages.value = [...messages.value, message];
  setTimeout(() => forget(message), undo ? 9000 : 5000);
}

function forget(message) {
  messages.value = messages.value.filter((each) => each !== message);
}

export function Messages() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${messages.value.map(
      (message) => html`<div class="toast" key=${message.id}>
        <span>${message.text}</span>
        ${
          message.undo &&
          html`<button
          type="button"
          class="btn small"
          onClick=${() => {
            forget(message);
            message.undo();
          }}
        >
          Undo
        </button>`
        }
      </div>`,
    )}
  </div>`;
}
