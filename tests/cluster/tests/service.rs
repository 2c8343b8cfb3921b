//! The agent under a service manager.

use std::{os::unix::net::UnixDatagram, path::PathBuf, time::Duration};
use zhost_cluster::{Cluster, Programs, cast};

/// How long the agent may take to say something: healthy it says every two seconds.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_service_manager_is_told_when_the_agent_is_ready_healthy_and_at_its_end() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("service");
    let mut cluster = Cluster::create(&dir, &Programs::beside_tests().unwrap(), cast(1)).unwrap();
    let name = dir.join("notify");
    let manager = UnixDatagram::bind(&name).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut buffer = [0; 64];
        let size = manager.recv(&mut buffer).expect("the agent says something");
        String::from_utf8_lossy(&buffer[..size]).into_owned()
    };
    cluster.set_variable("NOTIFY_SOCKET", &name.display().to_string());
    cluster.start(0).unwrap();
    assert_eq!(hear(), "READY=1");
    assert_eq!(cluster.ask(&["status"]).unwrap()["zhost"], "node-1", "it answers as soon as it is ready");
    assert_eq!(hear(), "WATCHDOG=1");
    cluster.end().unwrap();
    let last = std::iter::repeat_with(hear).find(|said| said != "WATCHDOG=1").unwrap();
    assert_eq!(last, "STOPPING=1");
}
