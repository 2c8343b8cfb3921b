// A guest in AssemblyScript: what it computes at its top level is its start section, which runs before all else.

@external("sys", "log") declare function log(level: i32, text: usize, size: i32): void;
@external("sys", "config") declare function config(key: usize, size: i32, buffer: usize, room: i32): i32;
@external("sys", "now_us") declare function nowUs(): i64;
@external("sys", "sleep") declare function sleep(ms: i32): void;

const INFO: i32 = 1;
const FOREVER: i32 = -1;

function say(text: string): void {
  const bytes = String.UTF8.encode(text);
  log(INFO, changetype<usize>(bytes), bytes.byteLength);
}

function setting(name: string): string {
  const key = String.UTF8.encode(name);
  const value = new ArrayBuffer(64);
  const size = config(changetype<usize>(key), key.byteLength, changetype<usize>(value), value.byteLength);
  return size < 0 ? "nothing" : String.UTF8.decodeUnsafe(changetype<usize>(value), size);
}

const words: string[] = ["I", "am", setting("name")];
const begun: i64 = nowUs();
say(words.join(" "));

export function on_init(): i32 {
  say("I am told " + setting("greeting"));
  sleep(50);
  return 0;
}

export function on_process(): i32 {
  const late = nowUs() - begun;
  if (late < 50_000) {
    sleep(50);
    return 0;
  }
  say("it is 50 ms later: true");
  say("there are no files: true");
  sleep(FOREVER);
  return 0;
}
