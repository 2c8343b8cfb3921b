//! Real processes: strangers at their ports, sudden deaths, bad surroundings.

use std::{
    env, fs,
    io::Write,
    net::{SocketAddr, TcpStream, UdpSocket},
    process::Command,
    time::Duration,
};
use zhost_base::{Generation, Instant, Rng, ZhostId};
use zhost_cluster::{Cluster, Outcome, Programs, cast, watch, without::do_without};
use zhost_control::{Client, Pace, protocol::Request};
use zhost_gossip::{
    datagram::Datagram,
    membership::{Peer, Rumour, Standing, Swim, SwimMessage},
    seal::{ClusterSecret, Sealer},
};
use zhost_link::{Identity, Link, noise::Role};

const PATIENCE: Duration = Duration::from_secs(20);
/// How much is thrown at each port.
const GARBAGE_BYTES: usize = 10_000_000;
/// How much memory a zhost may gain from it.
const GROWTH_MAX_KIB: u64 = 4096;

/// A cluster in a directory of its own that goes with it.
struct Site {
    cluster: Cluster,
}

impl Site {
    fn new(name: &str, zhosts: usize) -> Self {
        let dir = env::temp_dir().join(format!("zhost-{name}-{}", std::process::id()));
        Self { cluster: Cluster::create(&dir, &Programs::beside_tests().unwrap(), cast(zhosts)).unwrap() }
    }

    fn start_all(&mut self) {
        (0..self.cluster.zhosts.len()).for_each(|index| self.cluster.start(index).unwrap());
    }

    fn alive(&self) -> Outcome<usize> {
        let zhosts = self.cluster.ask(&["cluster", "zhosts"])?;
        Ok(zhosts.as_array().map_or(0, |list| {
            list.iter().filter(|z| z["state"] == "alive" && z["super_node"] != "-").count()
        }))
    }

    fn wait_for_alive(&self, count: usize) {
        watch(PATIENCE, || Ok((self.alive()? == count).then_some(()))).unwrap();
    }

    fn addr(&self, index: usize, key: &str) -> SocketAddr {
        let zhosts = self.cluster.ask(&["cluster", "zhosts"]).unwrap();
        let name = &self.cluster.zhosts[index].character.name;
        let zhost = zhosts.as_array().unwrap().iter().find(|z| z["name"] == name.as_str()).unwrap();
        zhost[key].as_str().unwrap().parse().unwrap()
    }

    fn rss_kib(&self, index: usize) -> u64 {
        let pid = self.cluster.zhosts[index].process.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn log(&self, index: usize) -> String {
        let name = &self.cluster.zhosts[index].character.name;
        fs::read_to_string(self.cluster.dir.join(format!("{name}.log"))).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The directory may be gone already; the processes end with the cluster.
        let _ = fs::remove_dir_all(&self.cluster.dir);
    }
}

fn secret(site: &Site, file: &str) -> [u8; 32] {
    let hex = fs::read_to_string(site.cluster.dir.join(file)).unwrap();
    let byte = |index: usize| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap();
    std::array::from_fn(byte)
}

/// Datagrams a hostile neighbour may send to the gossip port: noise, noise that looks sealed, sealed with a wrong
/// secret, and (an insider gone mad) well sealed nonsense.
fn gossip_garbage(rng: &mut Rng, ours: &Sealer, theirs: &Sealer) -> Vec<u8> {
    let mut noise = vec![0; rng.below(1400) as usize];
    rng.fill(&mut noise);
    match rng.below(4) {
        0 => noise,
        1 => [&ours.seal(rng, b"x")[..2], &noise].concat(),
        2 => theirs.seal(rng, &noise),
        _ => {
            let packet = [&[0, noise.len() as u8], noise.as_slice()].concat();
            let plain = if rng.chance(500) { strange_news(rng).encode() } else { packet };
            ours.seal(rng, &plain)
        }
    }
}

/// Questions of nobody, with news of more of them.
fn strange_news(rng: &mut Rng) -> Datagram {
    let peer = |rng: &mut Rng| Peer {
        id: ZhostId(rng.number()),
        generation: Generation(rng.number() as u32),
        addrs: SocketAddr::from(([192, 0, 2, 1], 9)).into(),
        nonce: rng.number() as u32,
    };
    let rumour = |rng: &mut Rng| Rumour { peer: peer(rng), incarnation: 0, standing: Standing::Down };
    let rumours = (0..rng.below(20)).map(|_| rumour(rng)).collect();
    let message = SwimMessage::PingRequest(rng.number() as u32, ZhostId(rng.number()));
    Datagram::Swim(Swim { from: ZhostId(rng.number()), message, rumours })
}

/// Datagrams for the control port: noise, and real first messages with flipped bits.
fn control_garbage(rng: &mut Rng, hello: &[u8]) -> Vec<u8> {
    if rng.chance(500) {
        let mut noise = vec![0; rng.below(1400) as usize];
        rng.fill(&mut noise);
        return [&[1 + rng.below(4) as u8], noise.as_slice()].concat();
    }
    let mut mutated = hello.to_vec();
    let bit = rng.below(mutated.len() as u64 * 8) as usize;
    mutated[bit / 8] ^= 1 << (bit % 8);
    mutated
}

/// Connections that begin with noise, or with a real first message with a flipped bit, and go on with noise. The zhost
/// must accept each, and hangs up on it.
fn throw_at_links(rng: &mut Rng, addr: SocketAddr, secret: &[u8; 32]) {
    let key = ClusterSecret::new(*secret, "demo".parse().unwrap()).derive("zhost link v1");
    let mut sent = 0;
    while sent < GARBAGE_BYTES {
        let stranger = Identity::from_private([9; 32]);
        let mut hello = Link::new(Role::Initiator, &stranger, &key, rng.fork()).poll_bytes().unwrap();
        match rng.below(3) {
            0 => rng.fill(&mut hello),
            1 => {
                let bit = rng.below(hello.len() as u64 * 8) as usize;
                hello[bit / 8] ^= 1 << (bit % 8);
            }
            // An honest first message; what follows is none.
            _ => {}
        }
        let mut noise = vec![0; 20_000];
        rng.fill(&mut noise);
        let mut stream = TcpStream::connect(addr).expect("the zhost accepts connections");
        // It hangs up on strangers, so writing may fail: that is its right.
        let _ = stream.write_all(&hello).and_then(|()| stream.write_all(&noise));
        sent += hello.len() + noise.len();
    }
}

#[test]
fn ten_megabytes_of_garbage_at_every_port_change_nothing() {
    let mut site = Site::new("garbage", 2);
    site.start_all();
    site.wait_for_alive(2);
    let (gossip, control) = (site.addr(0, "addr"), site.addr(0, "control_addr"));
    let before = site.rss_kib(0);
    let mut rng = Rng::from_number(1);
    let ours = Sealer::new(&ClusterSecret::new(secret(&site, "cluster.secret"), "demo".parse().unwrap()));
    let theirs = Sealer::new(&ClusterSecret::new([7; 32], "demo".parse().unwrap()));
    let operator = Identity::from_private([7; 32]);
    let key = secret(&site, "control.secret");
    let mut client = Client::new(Instant::ZERO, Pace::NETWORK, &operator, &key, rng.fork()).unwrap();
    client.request(Instant::ZERO, Request::Status.encode()).unwrap();
    client.handle_timeout(Instant::ZERO).unwrap();
    let hello = client.poll_datagram().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (addr, is_gossip) in [(gossip, true), (control, false)] {
        let (mut sent, mut answered) = (0, 0);
        while sent < GARBAGE_BYTES {
            // An answer now and then keeps the kernel's queue from dropping most of it.
            if sent - answered > 100_000 {
                site.cluster.ask(&["status"]).unwrap();
                answered = sent;
            }
            let bytes = if is_gossip {
                gossip_garbage(&mut rng, &ours, &theirs)
            } else {
                control_garbage(&mut rng, &hello)
            };
            sent += bytes.len() + 1;
            socket.send_to(&bytes, addr).unwrap();
        }
    }
    throw_at_links(&mut rng, gossip, &secret(&site, "cluster.secret"));
    // The other zhost comes back over the very port that was abused.
    site.cluster.kill(1).unwrap();
    site.wait_for_alive(1);
    site.cluster.start(1).unwrap();
    site.wait_for_alive(2);
    let status = site.cluster.ask(&["status"]).unwrap();
    assert_eq!(status["generation"], 1, "it never restarted");
    let growth = site.rss_kib(0).saturating_sub(before);
    assert!(growth < GROWTH_MAX_KIB, "grew by {growth} KiB");
    site.cluster.end().unwrap();
}

#[test]
fn a_wrong_secret_cannot_join_and_is_logged_once() {
    let mut site = Site::new("secret", 2);
    let other = site.cluster.dir.join("other.secret");
    let made =
        Command::new(Programs::beside_tests().unwrap().zctl).arg("secret").arg(&other).status().unwrap();
    assert!(made.success());
    let config = site.cluster.dir.join("node-2.yaml");
    let text = fs::read_to_string(&config).unwrap().replace("/cluster.secret", "/other.secret");
    fs::write(&config, text).unwrap();
    site.start_all();
    site.wait_for_alive(1);
    watch(PATIENCE, || Ok(site.log(0).contains("sealed with another secret").then_some(()))).unwrap();
    // Its next five attempts come within five seconds; waiting for the peer's own log would tell nothing.
    let attempts = std::time::Instant::now();
    watch(PATIENCE, || Ok((attempts.elapsed() > Duration::from_secs(5)).then_some(()))).unwrap();
    assert_eq!(site.log(0).matches("sealed with another secret").count(), 1);
    assert_eq!(site.alive().unwrap(), 1);
    site.cluster.end().unwrap();
}

#[test]
fn after_a_blackout_everything_comes_back_by_itself() {
    let mut site = Site::new("blackout", 3);
    site.start_all();
    site.wait_for_alive(3);
    let key = site.cluster.dir.join("publisher.key").display().to_string();
    let mex = site.cluster.dir.join("calm.mex");
    fs::write(&mex, zhost_sim::package("calm", 1, "data.read")).unwrap();
    let mex = mex.display().to_string();
    site.cluster.zctl(&["mex", "sign", &mex, "--key", &key]).unwrap();
    let submitted = site.cluster.ask(&["topo", "submit", &mex]).unwrap();
    assert_eq!(submitted["durability"]["copies"], 3);
    let running = |site: &Site| {
        Ok((site.cluster.ask(&["topo", "status", "calm"])?["state"] == "running").then_some(()))
    };
    watch(PATIENCE, || running(&site)).unwrap();
    (0..3).for_each(|index| site.cluster.kill(index).unwrap());
    site.start_all();
    site.wait_for_alive(3);
    watch(PATIENCE, || running(&site)).unwrap();
    site.cluster.ask(&["topo", "delete", "calm"]).unwrap();
    let gone =
        || Ok(site.cluster.ask(&["mesh", "spaces"])?.as_array().is_some_and(Vec::is_empty).then_some(()));
    watch(PATIENCE, gone).unwrap();
    let no_packages = || Ok(site.cluster.zctl(&["status"])?.contains(" 0 packages").then_some(()));
    watch(PATIENCE, no_packages).unwrap();
    site.cluster.end().unwrap();
}

#[test]
fn bad_packages_are_refused_with_a_sentence_and_nothing_is_stored() {
    let mut site = Site::new("packages", 1);
    site.start_all();
    site.wait_for_alive(1);
    let file = |name: &str| site.cluster.dir.join(name).display().to_string();
    let good = zhost_sim::package("calm", 1, "data.read");
    fs::write(file("untrusted.mex"), &good).unwrap();
    fs::write(
        file("flipped.mex"),
        [&good[..good.len() / 2], &[good[good.len() / 2] ^ 1], &good[good.len() / 2 + 1..]].concat(),
    )
    .unwrap();
    fs::write(file("greedy.mex"), zhost_sim::package_without("calm", "data.write")).unwrap();
    site.cluster.zctl(&["mex", "sign", &file("greedy.mex"), "--key", &file("publisher.key")]).unwrap();
    for (mex, part) in [
        ("untrusted.mex", "publisher this cluster does not trust"),
        ("flipped.mex", "damaged"),
        ("greedy.mex", "space 'store': it imports data.put but does not declare the capability data.write"),
        ("calm.yaml", "no such file"),
    ] {
        let refusal = site.cluster.ask(&["topo", "submit", &file(mex)]).unwrap_err();
        assert!(refusal.contains(part), "{mex}: {refusal}");
    }
    assert_eq!(site.cluster.ask(&["topo", "list"]).unwrap().as_array().map(Vec::len), Some(0));
    assert!(site.cluster.zctl(&["status"]).unwrap().contains(" 0 packages"));
    site.cluster.end().unwrap();
}

#[test]
fn bad_surroundings_get_a_clear_line() {
    let site = Site::new("surroundings", 1);
    let config = site.cluster.dir.join("node-1.yaml").display().to_string();
    let complaint = |args: &[&str]| {
        let output = Command::new(Programs::beside_tests().unwrap().zhost)
            .arg("--config")
            .arg(&config)
            .args(args)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{args:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.lines().last().unwrap_or_default().to_owned()
    };
    let contains = |args: &[&str], parts: &[&str]| {
        let text = complaint(args);
        assert!(parts.iter().all(|part| text.contains(part)), "{args:?}: {text}");
    };
    contains(&["--config", "/nonexistent.yaml"], &["config file /nonexistent.yaml", "No such file"]);
    contains(&["--listen", "nowhere"], &["flag --listen", "nowhere"]);
    contains(&["--listen", "192.0.2.1:1"], &["flag --listen", "192.0.2.1:1"]);
    contains(&["--data-dir", "/proc/zhost"], &["flag --data-dir", "/proc/zhost"]);
    contains(&["--camera-replay", &config], &["flag --camera-replay", "PGM"]);
    contains(&["--publishers", "abc"], &["flag --publishers", "not a key"]);
    let readable = site.cluster.dir.join("readable.secret");
    fs::write(&readable, "0".repeat(64)).unwrap();
    contains(&["--secret-file", &readable.display().to_string()], &["flag --secret-file", "chmod 600"]);
}

/// The flash of a zhost is full: commands are refused with a sentence, and it goes on when there is room again.
#[test]
fn a_full_disk_is_survived() {
    let mut site = Site::new("full", 1);
    let disk = site.cluster.dir.join("node-1");
    fs::create_dir_all(&disk).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(&disk).status();
    if !mounted.is_ok_and(|status| status.success()) {
        do_without("a full disk: mounting a small one takes root").unwrap();
        return;
    }
    let outcome = fill_disk(&mut site, &disk);
    let ended = site.cluster.end();
    let unmounted = Command::new("umount").arg(&disk).status();
    outcome.unwrap();
    ended.unwrap();
    assert!(unmounted.is_ok_and(|status| status.success()));
}

fn fill_disk(site: &mut Site, disk: &std::path::Path) -> Outcome {
    site.cluster.start(0)?;
    watch(PATIENCE, || Ok((site.alive()? == 1).then_some(())))?;
    let filler = disk.join("filler");
    // Fills the disk to the last block, then says so.
    let full = fs::write(&filler, vec![1; 4 << 20]).is_err();
    if !full {
        return Err("the small disk is not small".into());
    }
    let mex = site.cluster.dir.join("calm.mex");
    fs::write(&mex, zhost_sim::package("calm", 1, "data.read")).map_err(|e| e.to_string())?;
    let mex = mex.display().to_string();
    let key = site.cluster.dir.join("publisher.key").display().to_string();
    site.cluster.zctl(&["mex", "sign", &mex, "--key", &key])?;
    // The store has some room of its own; submits again and again use it up.
    let submit = |site: &Site| site.cluster.ask(&["topo", "submit", &mex]);
    let refusal = watch(PATIENCE, || Ok(submit(site).err()));
    fs::remove_file(&filler).map_err(|e| e.to_string())?;
    let refusal = refusal.map_err(|_| "submits go on although the disk is full")?;
    if !refusal.contains("no room") && !refusal.contains("flash") {
        return Err(format!("the refusal does not say why: {refusal}"));
    }
    watch(PATIENCE, || Ok(submit(site).ok()))?;
    let running = || Ok((site.cluster.ask(&["topo", "status", "calm"])?["state"] == "running").then_some(()));
    watch(PATIENCE, running)?;
    let status = site.cluster.ask(&["status"])?;
    if status["generation"] == 1 { Ok(()) } else { Err("it restarted".into()) }
}
