//! A board that QEMU plays, from its image.

use crate::{Outcome, board::Board, image::Image, setup, steps};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use zhost_cluster::watch;

/// What playing boards takes.
const TOOLS: [&str; 2] = ["qemu-system-arm", "ipxe-qemu"];
/// How long QEMU may take to say where its serial line is.
const LINE_WITHIN: Duration = Duration::from_secs(10);

/// A guest: its flash card outlives it.
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its end of a serial cable, a pseudo-terminal.
    pub line: PathBuf,
    process: Child,
    log: PathBuf,
    /// Where in the log this start began.
    began: usize,
}

/// How a guest is started.
pub struct Boot<'a> {
    /// What it is.
    pub board: &'a Board,
    /// Kernel and initramfs.
    pub image: &'a Image,
    /// Its flash card.
    pub disk: &'a Path,
    /// Settings beside those of the image.
    pub settings: &'a [(&'a str, &'a str)],
    /// What the kernel is told beside.
    pub command_line: &'a str,
    /// What QEMU is told beside what the board's file says.
    pub more: &'a [&'a str],
    /// The cable between two guests, if there is one: our port and theirs, on loopback.
    pub network: Option<(u16, u16)>,
}

impl Guest {
    /// Switches a guest on.
    pub fn start(name: &str, boot: &Boot<'_>) -> Outcome<Self> {
        let (program, args) = boot.board.qemu.split_first().ok_or("QEMU does not play this board")?;
        if !steps::succeeds(program, &["--version"]) {
            setup::apt_install(&TOOLS)?;
        }
        let log = boot.disk.with_extension("log");
        let began = fs::metadata(&log).map_or(0, |file| file.len() as usize);
        let mut append =
            format!("console={} panic=-1 quiet zhost.name={name} {}", boot.board.console, boot.command_line);
        boot.settings.iter().for_each(|(name, value)| append += &format!(" zhost.{name}={value}"));
        let mut command = Command::new(program);
        command.args(args).args(boot.more).args(["-display", "none", "-monitor", "none"]);
        command.arg("-kernel").arg(&boot.image.kernel).arg("-initrd").arg(&boot.image.initramfs);
        command.args(["-append", &append]);
        let card = if boot.board.firmware.is_empty() { "virtio" } else { "sd" };
        command.args(["-drive", &format!("file={},format=raw,if={card}", boot.disk.display())]);
        if let Some((ours, theirs)) = boot.network {
            let at =
                |port: u16, side: &str| format!("{side}.type=inet,{side}.host=127.0.0.1,{side}.port={port}");
            let cable = format!("dgram,id=net,{},{}", at(ours, "local"), at(theirs, "remote"));
            command.args(["-netdev", &cable]);
            command.args(["-device", &format!("virtio-net-pci,netdev=net,romfile=,mac={}", mac(name))]);
        }
        command.args(["-chardev", &format!("pty,id=line,logappend=on,logfile={}", log.display())]);
        command.args(["-serial", "chardev:line"]);
        let said = boot.disk.with_extension("qemu");
        let open = || File::create(&said).map_err(|e| format!("{}: {e}", said.display()));
        command.stdin(Stdio::null()).stdout(open()?).stderr(Stdio::inherit());
        let process = command.spawn().map_err(|e| format!("{program}: {e}"))?;
        let mut guest = Self { name: name.to_owned(), line: PathBuf::new(), process, log, began };
        guest.line = watch(LINE_WITHIN, || {
            let lines = BufReader::new(File::open(&said).map_err(|e| e.to_string())?).lines();
            let found = lines
                .map_while(Result::ok)
                .find_map(|line| Some(line.split_once("redirected to ")?.1.split(' ').next()?.into()));
            Ok(found)
        })?;
        Ok(guest)
    }

    /// What it wrote to its console since this start, without the frames that are for zctl.
    pub fn said(&self) -> Outcome<String> {
        let bytes = fs::read(&self.log).map_err(|e| format!("{}: {e}", self.log.display()))?;
        let chunks = bytes.get(self.began..).unwrap_or_default().split(|byte| *byte == 0);
        let texts = chunks.map(String::from_utf8_lossy);
        Ok(texts.filter(|text| is_text(text)).collect())
    }

    /// Waits until a line of its console holds this; gives the last one that does.
    pub fn wait_for(&mut self, words: &str, patience: Duration) -> Outcome<String> {
        let begin = Instant::now();
        while begin.elapsed() < patience {
            let said = self.said()?;
            if let Some(line) = said.lines().rfind(|line| line.contains(words)) {
                return Ok(line.trim().to_owned());
            }
            if let Some(status) = self.process.try_wait().map_err(|e| e.to_string())? {
                return Err(format!("{} ended ({status}); it said:\n{said}", self.name));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(format!(
            "{} does not say {words:?} within {} s; it said:\n{}",
            self.name,
            patience.as_secs(),
            self.said()?
        ))
    }

    /// Takes its power away.
    pub fn cut_power(mut self) -> Outcome {
        self.process.kill().and_then(|()| self.process.wait()).map(drop).map_err(|e| e.to_string())
    }

    /// From now on only what it says later counts.
    pub fn forget_what_it_said(&mut self) -> Outcome {
        let log = fs::metadata(&self.log).map_err(|e| format!("{}: {e}", self.log.display()))?;
        self.began = log.len() as usize;
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// Whether this is console text; a line begins with noise when the port is set up.
fn is_text(chunk: &str) -> bool {
    let is_noise = |c: &char| *c == '\u{fffd}' || c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\x1b');
    chunk.chars().filter(is_noise).count() * 10 < chunk.len()
}

/// An address for its network card, from its name.
fn mac(name: &str) -> String {
    let drawn = name.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let [_, a, b, c] = drawn.to_be_bytes();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}
