// Shows what comes along the path `messages`. Scripts and styles stand in files of their own; inline ones do not run.

import { listen, text } from "./zhost.js";

const show = (id, value) => { document.getElementById(id).textContent = value; };

listen(
  { messages: (bytes) => show("messages", text(bytes)) },
  { connected: (is) => show("state", is ? "live" : "out of reach") },
);
