//! Recorded hardware, as a laptop plays it.

use std::{env, fs, os::unix::fs::PermissionsExt, path::PathBuf};
use zhost_base::Instant;
use zhost_exchange::{DeviceError, Devices, Reading};
use zhost_hal::{Board, Machine, Wire};

/// A recording that goes with it.
struct Recording(PathBuf);

impl Recording {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let recording = Self(env::temp_dir().join(format!("zhost-hal-{name}-{}", std::process::id())));
        files.iter().for_each(|(file, text)| recording.write(file, text));
        recording
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn board(&self) -> Board {
        Board::new(Machine::recorded(&self.0), Some(self.0.join("secrets")))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn json(board: &Board, capability: &str) -> String {
    loop {
        match board.read(Instant::ZERO, capability) {
            Ok(Reading::Json(json)) => return json,
            // Most are read in the background, by a thread that has to take its turn.
            Err(DeviceError::NotYet) => std::thread::yield_now(),
            other => panic!("{capability}: {other:?}"),
        }
    }
}

#[test]
fn what_the_kernels_drivers_measure_is_found_and_read_in_plain_units() {
    let recording = Recording::new(
        "sysfs",
        &[
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone0/temp", "48312\n"),
            ("sys/class/hwmon/hwmon0/name", "rpi_volt\n"),
            ("sys/class/hwmon/hwmon0/in0_lcrit_alarm", "0\n"),
            ("sys/class/hwmon/hwmon1/name", "ina219"),
            ("sys/class/hwmon/hwmon1/in1_input", "5021\n"),
            ("sys/class/hwmon/hwmon1/curr1_input", "-120\n"),
            ("sys/class/hwmon/hwmon1/power1_input", "602000\n"),
            ("sys/class/hwmon/hwmon1/fan1_input", "1500\n"),
            ("sys/bus/w1/devices/28-0316a2797e1b/temperature", "-1562\n"),
            ("sys/bus/w1/devices/w1_bus_master1/temperature", "1\n"),
            ("sys/bus/iio/devices/iio:device0/name", "bme280\n"),
            ("sys/bus/iio/devices/iio:device0/in_temp_input", "21370\n"),
            ("sys/bus/iio/devices/iio:device0/in_pressure_input", "98.463867\n"),
            ("sys/bus/iio/devices/iio:device1/name", "ads1015\n"),
            ("sys/bus/iio/devices/iio:device1/in_voltage0_raw", "1651\n"),
            ("sys/bus/iio/devices/iio:device1/in_voltage_scale", "2.000000\n"),
            ("sys/bus/iio/devices/iio:device1/in_voltage1_raw", "10\n"),
            ("sys/bus/iio/devices/iio:device1/in_voltage1_offset", "-4\n"),
        ],
    );
    let board = recording.board();
    for (capability, expected) in [
        ("sensors.cpu-thermal", r#"{"type":"temperature","value":48.312,"unit":"C"}"#),
        ("sensors.ina219-in1", r#"{"type":"voltage","value":5.021,"unit":"V"}"#),
        ("sensors.ina219-curr1", r#"{"type":"current","value":-0.12,"unit":"A"}"#),
        ("sensors.ina219-power1", r#"{"type":"power","value":0.602,"unit":"W"}"#),
        ("sensors.ina219-fan1", r#"{"type":"speed","value":1500,"unit":"rpm"}"#),
        ("sensors.w1-28-0316a2797e1b", r#"{"type":"temperature","value":-1.562,"unit":"C"}"#),
        ("sensors.bme280-temp", r#"{"type":"temperature","value":21.37,"unit":"C"}"#),
        ("sensors.bme280-pressure", r#"{"type":"pressure","value":98.463,"unit":"kPa"}"#),
        ("sensors.ads1015-voltage0", r#"{"type":"voltage","value":3.302,"unit":"V"}"#),
        ("sensors.ads1015-voltage1", r#"{"type":"voltage","value":0.012,"unit":"V"}"#),
    ] {
        assert_eq!(json(&board, capability), expected, "{capability}");
    }
    assert_eq!(board.capabilities().len(), 10 + 3, "alarms are no inputs: {:?}", board.capabilities());
}

#[test]
fn devices_come_and_go() {
    let recording = Recording::new(
        "plug",
        &[("sys/class/hwmon/hwmon0/name", "lm75"), ("sys/class/hwmon/hwmon0/temp1_input", "1")],
    );
    let board = recording.board();
    assert!(!board.look_around(), "nothing has changed");
    let directory = "sys/class/hwmon/hwmon1";
    recording.write(&format!("{directory}/name"), "lm75");
    recording.write(&format!("{directory}/temp1_input"), "2000");
    assert!(board.look_around());
    // The second of a kind has a number.
    assert!(json(&board, "sensors.lm75-temp1-1").contains(":2,"));
    fs::remove_dir_all(recording.0.join(directory)).unwrap();
    assert!(board.look_around());
    assert!(!board.capabilities().iter().any(|name| name.as_str() == "sensors.lm75-temp1-1"));
}

#[test]
fn no_more_devices_are_found_than_fit_what_a_zhost_says_of_itself() {
    let recording = Recording::new("many", &[]);
    for index in 0..40 {
        recording.write(&format!("sys/class/thermal/thermal_zone{index}/type"), &format!("zone{index}"));
    }
    recording.write("sys/class/thermal/thermal_zone40/type", "a-name-that-is-too-long-for-any-capability");
    let board = recording.board();
    assert_eq!(board.capabilities().len(), 12 + 3);
    assert!(!board.look_around());
}

#[test]
fn wired_devices_play_their_recordings() {
    let recording = Recording::new(
        "wired",
        &[
            ("dev/gpiochip0", "0 GPIO17 1\n500 GPIO17 0\n800 GPIO4 1\n999 GPIO17 1\n"),
            ("dev/i2c-1", "48 0 8019\n48 1 1234\n"),
            ("dev/spidev0.0", "abcdef"),
            ("dev/ttyS0", "hello\n"),
            ("sys/class/pwm/pwmchip0/export", ""),
            ("sys/class/pwm/pwmchip0/pwm1/enable", "0"),
            ("sys/class/pwm/pwmchip0/pwm1/duty_cycle", "0"),
        ],
    );
    let mut board = recording.board();
    for wire in [
        "button=gpio-in:GPIO17",
        "pump=gpio-out:GPIO27",
        "air=lm75:i2c-1@48",
        "bus=i2c:i2c-1",
        "adc=spi:spidev0.0@1000000",
        "radio=uart:ttyS0@9600",
        "fan=pwm:pwmchip0@1",
    ] {
        board.wire(&wire.parse::<Wire>().unwrap()).unwrap();
    }
    let button = |ms: u64| match board.read(Instant::from_micros(ms * 1000), "sensors.button").unwrap() {
        Reading::Json(json) => json,
        other => panic!("{other:?}"),
    };
    assert_eq!(button(0), r#"{"type":"line","value":1,"edges":1}"#);
    assert_eq!(button(700), r#"{"type":"line","value":0,"edges":2}"#);
    assert_eq!(button(1700), r#"{"type":"line","value":0,"edges":5}"#);
    let tell = |capability: &str, command: &[u8]| board.command(Instant::ZERO, capability, command);
    assert_eq!(tell("actuators.pump", b"1"), Ok(Vec::new()));
    assert_eq!(json(&board, "actuators.pump"), r#"{"type":"line","value":1,"edges":0}"#);
    assert!(matches!(tell("actuators.pump", b"on"), Err(DeviceError::Command(_))));
    assert_eq!(json(&board, "sensors.air"), r#"{"type":"temperature","value":25.5,"unit":"C"}"#);
    assert_eq!(tell("actuators.bus", &[0x48, 2, 1]), Ok(vec![0x34, 0x12]));
    assert_eq!(tell("actuators.bus", &[0x48, 2, 1, 0x78, 0x56]), Ok(vec![0x78, 0x56]));
    assert_eq!(
        tell("actuators.bus", &[0x48, 4, 0xff, 1, 2, 3, 4]),
        Ok(vec![1, 2]),
        "there is no register behind the last"
    );
    assert!(matches!(tell("actuators.bus", &[0x48]), Err(DeviceError::Command(_))));
    assert_eq!(tell("actuators.adc", b"1234"), Ok(b"abcd".to_vec()));
    assert_eq!(tell("actuators.adc", b"1234"), Ok(b"efab".to_vec()));
    assert_eq!(tell("actuators.radio", b"12345"), Ok(b"hello".to_vec()));
    assert_eq!(tell("actuators.fan", b"off"), Ok(Vec::new()), "a channel without a period takes no order");
    assert_eq!(tell("actuators.fan", b"40000 10000"), Ok(Vec::new()));
    let attribute =
        |name: &str| fs::read_to_string(recording.0.join("sys/class/pwm/pwmchip0/pwm1").join(name)).unwrap();
    assert_eq!([attribute("period"), attribute("duty_cycle"), attribute("enable")], ["40000", "10000", "1"]);
    assert!(matches!(tell("actuators.fan", b"10 20"), Err(DeviceError::Command(_))));
    assert_eq!(tell("actuators.fan", b"off"), Ok(Vec::new()));
    assert_eq!(attribute("enable"), "0");
}

#[test]
fn a_secret_that_others_may_read_is_not_given_out() {
    let recording = Recording::new("secrets", &[("secrets/weather", "s3cret\n"), ("secrets/open", "x")]);
    let mode = |file: &str, mode: u32| {
        fs::set_permissions(recording.0.join("secrets").join(file), fs::Permissions::from_mode(mode))
            .unwrap();
    };
    mode("weather", 0o600);
    mode("open", 0o644);
    let board = recording.board();
    assert_eq!(board.read(Instant::ZERO, "secrets.weather"), Ok(Reading::Bytes(b"s3cret".to_vec())));
    let refused = board.read(Instant::ZERO, "secrets.open").unwrap_err();
    assert!(refused.to_string().contains("chmod 600"), "{refused}");
    recording.write("secrets/weather", "changed");
    assert_eq!(board.read(Instant::ZERO, "secrets.weather"), Ok(Reading::Bytes(b"changed".to_vec())));
}

#[test]
fn what_is_wired_to_a_port_is_offered_while_the_port_is_there() {
    let recording = Recording::new("wired", &[]);
    // Its files are looked at as those of a real machine.
    let mut board = Board::new(Machine::below(&recording.0), None);
    board.wire(&"adc=spi:spidev0.0@1000000".parse::<Wire>().unwrap()).unwrap();
    board.wire(&"button=gpio-in:GPIO17".parse::<Wire>().unwrap()).unwrap();
    let offers = |board: &Board, capability: &str| {
        board.capabilities().iter().any(|offered| offered.as_str() == capability)
    };
    assert!(!offers(&board, "actuators.adc") && !offers(&board, "sensors.button"));
    assert!(!board.look_around(), "nothing has changed");
    recording.write("dev/spidev0.0", "");
    assert!(board.look_around());
    assert!(offers(&board, "actuators.adc") && !offers(&board, "sensors.button"));
    std::fs::remove_file(recording.0.join("dev/spidev0.0")).unwrap();
    assert!(board.look_around());
    assert!(!offers(&board, "actuators.adc"));
}

#[test]
fn sound_is_heard_as_time_passes_and_played_in_whole_samples() {
    let recording = Recording::new("sound", &[("dev/snd/pcmC0D0c", "abcdef"), ("dev/snd/pcmC0D0p", "")]);
    let board = recording.board();
    for capability in ["audio.microphone", "audio.speaker"] {
        assert!(board.capabilities().iter().any(|name| name.as_str() == capability), "{capability}");
    }
    let after_micros = |micros| board.read(Instant::from_micros(micros), "audio.microphone");
    assert_eq!(after_micros(0), Err(DeviceError::NotYet), "it begins to listen");
    assert_eq!(after_micros(250), Ok(Reading::Bytes(b"abcdefab".to_vec())), "four samples, again and again");
    assert_eq!(after_micros(251), Err(DeviceError::NotYet));
    assert_eq!(after_micros(313), Ok(Reading::Bytes(b"cd".to_vec())));
    let Ok(Reading::Bytes(portion)) = after_micros(3_600_000_000) else { panic!("nothing was heard") };
    assert_eq!(
        portion.len(),
        zhost_hal::sound::PORTION_MAX_BYTES,
        "half a second, however long nobody asked"
    );
    assert_eq!(board.command(Instant::ZERO, "audio.speaker", &[1, 2]), Ok(Vec::new()));
    assert_eq!(board.read(Instant::ZERO, "audio.speaker"), Err(DeviceError::Missing));
    assert_eq!(board.command(Instant::ZERO, "audio.microphone", &[1, 2]), Err(DeviceError::Missing));
}
