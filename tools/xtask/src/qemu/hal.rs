//! The hardware backends in a guest with a real Arm kernel.

use crate::{
    Outcome, cross,
    kernel::{Kernel, shell},
    setup, steps,
};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const TARGET: &str = "aarch64-unknown-linux-musl";
const TOOLS: [&str; 7] =
    ["qemu-system-arm", "ipxe-qemu", "cpio", "kmod", "make", "gcc-12-aarch64-linux-gnu", "xz-utils"];
/// Modules that the guest loads, beside what they need.
const MODULES: [&str; 9] = [
    "configfs",
    "vivid",
    "i2c-dev",
    "lm75",
    "8250_pci",
    "videobuf2-vmalloc",
    "w1_therm",
    "industrialio",
    "snd-aloop",
];
/// Those of them that it loads by itself, later.
const LATER: [&str; 2] = ["i6300esb", "snd-aloop"];
/// How long a guest may take.
const GUEST_WITHIN: Duration = Duration::from_secs(120);

/// What the guest has to say, in this order; what stands between is free.
const EXPECTED: [&str; 41] = [
    "offers actuators.pump",
    "actuators.pump told 1: []",
    "actuators.pump: {\"type\":\"line\",\"value\":1,\"edges\":0}",
    "actuators.pump told on: error: the device does not understand: expected 0 or 1",
    "sensors.none: error: there is no such device here",
    "sensors.button: {\"type\":\"line\",\"value\":0,\"edges\":0}",
    "sensors.button: {\"type\":\"line\",\"value\":1,\"edges\":3}",
    "actuators.bus told 4800001980: []",
    "actuators.bus told 480200: [19, 80]",
    "actuators.bus told 480000: error: the device failed",
    "sensors.air: {\"type\":\"temperature\",\"value\":25.5,\"unit\":\"C\"}",
    "sensors.gone: error: there is no such device here",
    "offers sensors.camera",
    "offers sensors.lm75-temp1",
    "sensors.lm75-temp1: {\"type\":\"temperature\",\"value\":25.5,\"unit\":\"C\"}",
    "offers actuators.adc",
    "sensors.soc-end: {\"type\":\"temperature\",\"value\":48.25,\"unit\":\"C\"}",
    "sensors.station-temp: {\"type\":\"temperature\",\"value\":22.59,\"unit\":\"C\"}",
    "sensors.station-pressure: {\"type\":\"pressure\",\"value\":101.325,\"unit\":\"kPa\"}",
    "sensors.w1-28-0000a1b2c3d4: {\"type\":\"temperature\",\"value\":21.5,\"unit\":\"C\"}",
    "actuators.adc told 00ff5a0f: [ff, 00, a5, f0]",
    "actuators.fan told 20000000 1500000: []",
    "actuators.fan told 1000000 250000: []",
    "actuators.fan told off: []",
    "pwm-end: channel 1 on, 1500000 of 20000000 ns",
    "pwm-end: channel 1 on, 250000 of 1000000 ns",
    "pwm-end: channel 1 off, 250000 of 1000000 ns",
    "offers audio.microphone-1",
    "offers audio.speaker",
    "audio.microphone-1: ",
    "audio.speaker told zhost-plays-here: []",
    // "zhost-plays-here", among silence.
    "bytes, with [7a, 68, 6f, 73, 74, 2d, 70, 6c, 61, 79, 73, 2d, 68, 65, 72, 65]",
    "audio.speaker told odd: error: the device does not understand: expected samples of 2 bytes",
    "sensors.camera: {\"type\":\"frame\",\"sequence\":1,\"width\":320,\"height\":180,\"format\":\"GREY\"} of 57600 bytes",
    "sensors.camera: {\"type\":\"frame\",\"sequence\":1,\"width\":640,\"height\":360,\"format\":\"YUYV\"} of 460800 bytes",
    "actuators.radio told hello: [",
    "actuators.radio told : [",
    "offers sensors.cpu",
    "sensors.camera: {\"type\":\"frame\",\"sequence\":1,\"width\":640,\"height\":480,\"format\":\"MJPG\"} of 1000 bytes",
    "\"format\":\"MJPG\"} of 10",
    "all looked at",
];

/// Looks at everything.
pub fn run() -> Outcome {
    let dir = steps::root().join("target/qemu");
    fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let kernel = Kernel::get("arm64")?;
    prepare_source(&dir, &kernel)?;
    let mut modules = build_own_modules(&dir, &kernel)?;
    modules.extend([build_module(&dir, &kernel, "i2c-stub")?, build_module(&dir, &kernel, "gpio-sim")?]);
    let inspect = build_inspect()?;
    let initramfs = pack(&dir, &kernel, &modules, &inspect)?;
    let said = Guest::boot(&kernel, &initramfs, "")?.listen()?;
    check(&said)?;
    let echo = echo(&said);
    if echo != "68, 65, 6c, 6c, 6f" {
        return Err(format!("the radio was told hello, and its echo is [{echo}]"));
    }
    if said.contains("offers sensors.none") {
        return Err("a line that is not there is offered".into());
    }
    let after =
        said.split("all looked at").next().and_then(|before| before.rsplit("actuators.radio told :").next());
    if after.is_some_and(|list| list.contains("offers sensors.camera")) {
        return Err("a camera that was unplugged is still offered".into());
    }
    println!(
        "cameras, GPIO, I²C, 1-Wire, SPI, PWM, hwmon, IIO, thermal zone, sound and serial line: as expected"
    );
    let said = Guest::boot(&kernel, &initramfs, "watchdog")?.listen()?;
    if !said.contains("/dev/watchdog: fed for 6 s") || said.contains("nobody bit") {
        return Err(format!("the watchdog did not bite, or too soon; the guest said:\n{said}"));
    }
    println!("watchdog: a guest that feeds it lives, one that stops is reset");
    Ok(())
}

fn check(said: &str) -> Outcome {
    let mut rest = said;
    for expected in EXPECTED {
        let at =
            rest.find(expected).ok_or_else(|| format!("missing: {expected}\nthe guest said:\n{said}"))?;
        rest = &rest[at + expected.len()..];
    }
    Ok(())
}

/// What the radio gave, as bytes in hex. How much of it comes with which telling is a matter of the line's speed.
fn echo(said: &str) -> String {
    let told = said.lines().filter(|line| line.starts_with("actuators.radio told "));
    let given = told.filter_map(|line| line.trim_end().strip_suffix(']')?.rsplit('[').next());
    given.filter(|bytes| !bytes.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Gets what modules are built from, unless it is there already.
fn prepare_source(dir: &Path, kernel: &Kernel) -> Outcome {
    let known = dir.join("source/release");
    if fs::read_to_string(&known).is_ok_and(|release| release == kernel.release) {
        return Ok(());
    }
    eprintln!("qemu: getting the kernel's source (some 150 MB, once)");
    setup::apt_install(&TOOLS)?;
    let release = &kernel.release;
    let (number, _) = release.rsplit_once('-').ok_or("a kernel without a number")?;
    let version = release.split('.').take(2).collect::<Vec<_>>().join(".");
    kernel.add(&[&format!("linux-headers-{release}"), "busybox-static"])?;
    // These are the same for all architectures, or run here.
    shell(
        &format!(
            "rm -rf source; mkdir -p source; apt-get download -qq linux-headers-{number}-common linux-kbuild-{version} \
             linux-source-{version}; for p in linux-headers* linux-kbuild*; do dpkg -x $p {}; done",
            kernel.root.display()
        ),
        dir,
    )?;
    // Of the source only what is built.
    let wanted = [
        "drivers/i2c/i2c-stub.c",
        "drivers/gpio/gpio-sim.c",
        "drivers/gpio/gpiolib.h",
        "kernel/irq/irq_sim.c",
    ];
    let wanted = wanted.map(|file| format!("linux-source-{version}/{file}")).join(" ");
    shell(
        &format!(
            "dpkg --fsys-tarfile linux-source*.deb | tar -xO --wildcards '*/linux-source-{version}.tar.xz' \
             | tar -xJ -C source --transform 's,.*/,,' {wanted}; rm *.deb"
        ),
        dir,
    )?;
    let headers = kernel.root.join("usr/src");
    let common = headers.join(format!("linux-headers-{number}-common/Makefile"));
    fs::write(
        headers.join(format!("linux-headers-{release}/Makefile")),
        format!("include {}\n", common.display()),
    )
    .map_err(|e| e.to_string())?;
    fs::write(known, release).map_err(|e| e.to_string())
}

/// Builds a module that Debian's package lacks, from Debian's source.
fn build_module(dir: &Path, kernel: &Kernel, name: &str) -> Outcome<PathBuf> {
    let build = dir.join(name);
    let module = build.join(format!("{name}.ko"));
    if module.exists() {
        return Ok(module);
    }
    fs::create_dir_all(&build).map_err(|e| e.to_string())?;
    let parts = match name {
        // The kernel has no simulator of interrupts; linked in, it must export nothing and call what is exported.
        "gpio-sim" => {
            "cp ../source/gpio-sim.c gpio-sim-core.c; cp ../source/gpiolib.h .; \
             sed -e /^EXPORT_SYMBOL/d -e 's/handle_simple_irq(irq_to_desc(irqnum))/generic_handle_irq(irqnum)/' \
             ../source/irq_sim.c > irq_sim.c; printf 'obj-m := gpio-sim.o\\ngpio-sim-y := gpio-sim-core.o irq_sim.o\\n' > Makefile"
        }
        _ => "cp ../source/i2c-stub.c .; echo 'obj-m := i2c-stub.o' > Makefile",
    };
    shell(parts, &build)?;
    make(kernel, &build)?;
    Ok(module)
}

/// Builds the modules of `tests/qemu/hal/modules`, as far as they have changed.
fn build_own_modules(dir: &Path, kernel: &Kernel) -> Outcome<Vec<PathBuf>> {
    let (sources, build) = (steps::root().join("tests/qemu/hal/modules"), dir.join("modules"));
    fs::create_dir_all(&build).map_err(|e| e.to_string())?;
    let copy = format!(
        "cp -u {sources}/*.c .
         (cd {sources}; ls *.c) | sed 's/\\.c$//'",
        sources = sources.display()
    );
    let names = shell(&copy, &build)?;
    let objects: String = names.lines().map(|name| format!("obj-m += {name}.o\n")).collect();
    let makefile = build.join("Makefile");
    if fs::read_to_string(&makefile).ok().as_ref() != Some(&objects) {
        fs::write(&makefile, objects).map_err(|e| format!("{}: {e}", makefile.display()))?;
    }
    make(kernel, &build)?;
    Ok(names.lines().map(|name| build.join(format!("{name}.ko"))).collect())
}

/// Builds the modules of a directory.
fn make(kernel: &Kernel, build: &Path) -> Outcome {
    let headers = kernel.root.join("usr/src").join(format!("linux-headers-{}", kernel.release));
    let make = format!(
        "make -s -C {} M=$PWD ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- CC=aarch64-linux-gnu-gcc-12 \
         DEB_HOST_GNU_TYPE=aarch64-linux-gnu modules 2>&1",
        headers.display()
    );
    shell(&make, build).map(drop)
}

fn build_inspect() -> Outcome<PathBuf> {
    let target = steps::root().join("target/cross");
    let aarch64 = cross::targets(TARGET)?;
    let mut command = aarch64.first().ok_or("no target")?.cargo("build", &target)?;
    steps::run(command.args(["--release", "--package", "zhost-hal", "--example", "inspect"]))?;
    Ok(target.join(TARGET).join("release/examples/inspect"))
}

/// Packs what the guest begins with.
fn pack(dir: &Path, kernel: &Kernel, modules: &[PathBuf], inspect: &Path) -> Outcome<PathBuf> {
    let script = steps::root().join("tests/qemu/hal/init");
    let copied: Vec<String> = modules.iter().map(|module| module.display().to_string()).collect();
    let packing = format!(
        "rm -rf rd; mkdir -p rd/bin rd/modules rd/proc rd/sys rd/dev rd/config
         cp {root}/bin/busybox {inspect} rd/bin; cp {script} rd/init; chmod +x rd/init; cp {copied} rd/modules
         for m in {wanted} i6300esb; do modprobe -d {root} -S {release} --show-depends $m; done \
         | sed -n 's/^insmod \\([^ ]*\\).*/\\1/p' | awk '!seen[$0]++' > files
         for f in $(cat files); do cp $f rd/modules; basename $f; done | grep -v -e {later} > rd/modules/order
         printf '%s\\n' gpio-sim.ko one-wire-end.ko spi-end.ko pwm-end.ko thermal-end.ko iio-end.ko >> rd/modules/order
         cd rd; find . | cpio -o -H newc --quiet | gzip -1 > ../initramfs.gz",
        inspect = inspect.display(),
        root = kernel.root.display(),
        script = script.display(),
        copied = copied.join(" "),
        wanted = MODULES.join(" "),
        later = LATER.join(" -e "),
        release = kernel.release,
    );
    shell(&packing, dir)?;
    Ok(dir.join("initramfs.gz"))
}

/// A guest that runs.
struct Guest {
    process: Child,
}

impl Guest {
    /// Boots one whose second serial line echoes what it hears.
    fn boot(kernel: &Kernel, initramfs: &Path, append: &str) -> Outcome<Self> {
        let echo = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
        let port = echo.local_addr().map_err(|e| e.to_string())?.port();
        thread::spawn(move || echo.accept().map(|(stream, _)| send_back(stream)));
        let mut command = Command::new("qemu-system-aarch64");
        command.args("-M virt -cpu cortex-a53 -m 256 -nographic -no-reboot -nic none".split(' '));
        command.args(["-device", "i6300esb", "-action", "watchdog=reset"]);
        command.args(["-chardev", &format!("socket,id=line,host=127.0.0.1,port={port}")]);
        command.args(["-device", "pci-serial,chardev=line"]);
        command.arg("-kernel").arg(kernel.image());
        command.arg("-initrd").arg(initramfs);
        command.args(["-append", &format!("console=ttyAMA0 panic=-1 quiet {append}")]);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        Ok(Self { process: spawned.map_err(|e| format!("qemu-system-aarch64: {e}"))? })
    }

    /// What it says until it ends.
    fn listen(mut self) -> Outcome<String> {
        let console = self.process.stdout.take().ok_or("no console")?;
        let listener = thread::spawn(move || {
            let lines = BufReader::new(console).split(b'\n').map_while(Result::ok);
            lines.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned() + "\n").collect::<String>()
        });
        let begin = Instant::now();
        while self.process.try_wait().map_err(|e| e.to_string())?.is_none() {
            if begin.elapsed() > GUEST_WITHIN {
                let _ = self.process.kill();
                return Err(format!("the guest did not end within {} s", GUEST_WITHIN.as_secs()));
            }
            thread::sleep(Duration::from_millis(100));
        }
        listener.join().map_err(|_| "nobody listened".to_owned())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

fn send_back(mut stream: TcpStream) {
    let mut bytes = [0; 256];
    while let Ok(size @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..size]).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::echo;

    #[test]
    fn an_echo_counts_with_whichever_telling_it_comes() {
        for [first, second] in [["", "68, 69"], ["68, 69", ""], ["68", "69"]] {
            let said = format!(
                "actuators.pump told 1: [01]\r\nactuators.radio told hello: [{first}]\r\nactuators.radio told : [{second}]\r\n"
            );
            assert_eq!(echo(&said), "68, 69");
        }
        assert_eq!(echo("actuators.radio told hello: error: the device failed\n"), "");
    }
}
