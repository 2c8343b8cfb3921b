// What the page of a UI space needs: the messages that come to its space, and a way to send some.
//
//     import { listen, send, text } from "./zhost.js";
//     listen({ readings: (bytes) => console.log(text(bytes)) });
//     await send("orders", "water the roses");

const RETRY_MS = 3000;
// The bridge is beside this file, wherever the page is.
const BRIDGE = new URL("-/", import.meta.url);

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** The text in a message. */
export function text(bytes) {
  return new TextDecoder().decode(bytes);
}

/**
 * Calls `takers[path](bytes)` for each message that comes along that path, first for the last one that came before.
 * `lost({ path, lost, unknown })` is told of messages that `send` sent and that did not arrive; `connected(boolean)`
 * whether the zhost answers.
 */
export function listen(takers, { lost = () => {}, connected = () => {} } = {}) {
  const source = new EventSource(new URL("events", BRIDGE));
  for (const [path, take] of Object.entries(takers)) {
    source.addEventListener(`path:${path}`, (event) => take(bytesOf(event.data)));
  }
  source.addEventListener("-undelivered", (event) => lost(JSON.parse(event.data)));
  source.addEventListener("open", () => connected(true));
  source.addEventListener("error", () => {
    connected(false);
    source.close();
    // The space may be on another zhost by now: the page's address leads there.
    setTimeout(async () => {
      const answer = await fetch("./", { method: "HEAD", redirect: "manual" }).catch(() => null);
      const isElsewhere = answer?.type === "opaqueredirect" || answer?.status === 403;
      if (isElsewhere) {
        location.reload();
      } else {
        listen(takers, { lost, connected });
      }
    }, RETRY_MS);
  });
}

/** Sends a text or bytes, at most 4,096 of them, along a path of this space; fails if nobody can take it now. */
export async function send(path, message) {
  const answer = await fetch(new URL(`paths/${path}`, BRIDGE), { method: "POST", body: message });
  if (!answer.ok) {
    throw new Error((await answer.text()).trim());
  }
}
