// Signing in with a token, which goes into a cookie that scripts cannot read.
import { html, useEffect, useState } from "../lib/html.js";
import { post, signedOut } from "../lib/api.js";
import { visible } from "../lib/foreign_text.js";
import { Icon, Logo } from "../ui/icon.js";

export function Login({ onEnter }) {
  const [token, setToken] = useState("");
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  useEffect(() => {
    document.title = "Sign in · Conveyor";
  }, []);
  const enter = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await post("session", { token: token.trim() });
      signedOut.value = false;
      onEnter();
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return html`<main id="main" class="login">
    <form class="card" onSubmit=${enter}>
      <div class="brand"><${Logo} /><span>Conveyor</span></div>
      <h1 tabindex="-1">Sign in</h1>
      <label class="field">
        Token
        <input
          type="password"
          name="token"
          autocomplete="current-password"
          value=${token}
          aria-invalid=${error !== null}
          aria-describedby=${error ? "wrong" : "how"}
          onInput=${(event) => setToken(event.target.value)}
        />
      </label>
      ${
        error
          ? html`<p id="wrong" class="error" role="alert">
            <${Icon} name="bad" /><span>${error.title}. ${visible(error.detail || "")}</span>
          </p>`
          : html`<p id="how" class="dim">
            Whoever runs the server makes one: <code>conveyor token create NAME --scope read</code>
          </p>`
      }
      <button class="btn main wide" disabled=${token === "" || isBusy}>
        ${isBusy ? "Checking …" : "Sign in"}
      </button>
      <p class="dim small">
        It is kept for 12 hours in a cookie that scripts cannot read. A token with the scope read sees
        everything and changes nothing.
      </p>
    </form>
  </main>`;
}
