// The garden at a glance: the camera's picture, what the tally counted, what the sensors read.

import { listen, send, text } from "./zhost.js";

const HEADER_BYTES = 20;
const show = (id, value) => { document.getElementById(id).textContent = value; };

/** A frame as `sensors.read` gives it: sequence (u64), width, height (u32, little-endian), format, pixels. */
function paint(bytes) {
  const header = new DataView(bytes.buffer, 0, HEADER_BYTES);
  const [width, height] = [header.getUint32(8, true), header.getUint32(12, true)];
  const picture = new ImageData(width, height);
  bytes.subarray(HEADER_BYTES).forEach((grey, at) => picture.data.set([grey, grey, grey, 255], 4 * at));
  const canvas = document.getElementById("picture");
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(picture, 0, 0);
  show("sequence", header.getBigUint64(0, true));
}

listen({
  pictures: paint,
  counts: (bytes) => show("counts", text(bytes)),
  shown: (bytes) => {
    const { type, value, unit } = JSON.parse(text(bytes));
    show(type, `${value} ${unit}`);
  },
}, {
  connected: (is) => show("state", is ? "live" : "out of reach"),
  lost: ({ lost, unknown }) => show("said", `${lost + unknown} orders did not arrive`),
});

document.getElementById("report").addEventListener("click", async () => {
  try {
    await send("orders", "report");
    show("said", "asked");
  } catch (error) {
    show("said", error.message);
  }
});
