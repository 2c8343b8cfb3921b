//! What is wired to a board and cannot be found out: `NAME=KIND:WHERE`, such as `button=gpio-in:GPIO17`.

use crate::{
    Device,
    background::Background,
    gpio::{self, Direction, Line},
    i2c::{Bus, LinuxBus, RawBus},
    lm75::Lm75,
    machine::Machine,
    pwm::Pwm,
    replay_bytes::ReplayBytes,
    replay_gpio::ReplayLine,
    replay_i2c::ReplayBus,
    spi::Spi,
    uart::Uart,
};
use std::{path::PathBuf, str::FromStr, sync::Arc};
use zhost_base::Name;
use zhost_exchange::DeviceError;

/// A device that is wired to the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    name: Name,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// A GPIO line by its name.
    Line(String, Direction),
    /// An I²C bus, raw.
    I2c(String),
    /// A thermometer at an address of an I²C bus.
    Lm75(String, u16),
    /// An SPI device and its clock.
    Spi(String, u32),
    /// A serial line and its speed.
    Uart(String, u32),
    /// A chip and its channel.
    Pwm(String, u32),
}

const SYNTAX: &str = "expected NAME=gpio-in:LINE, NAME=gpio-out:LINE, NAME=i2c:i2c-1, NAME=lm75:i2c-1@48, \
                      NAME=spi:spidev0.0@HZ, NAME=uart:ttyS0@BAUD or NAME=pwm:pwmchip0@CHANNEL";

impl FromStr for Wire {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let syntax = || SYNTAX.to_owned();
        let (name, what) = text.split_once('=').ok_or_else(syntax)?;
        let (kind, place) = what.split_once(':').ok_or_else(syntax)?;
        // A device file's own name: nothing outside of /dev.
        let is_plain = |name: &str| !name.is_empty() && !name.contains('/') && name != "..";
        let (file, argument) = place.split_once('@').unwrap_or((place, ""));
        if !is_plain(file) {
            return Err(syntax());
        }
        let number = || argument.parse().map_err(|_| syntax());
        let file = file.to_owned();
        let what = match kind {
            "gpio-in" => What::Line(place.to_owned(), Direction::Input),
            "gpio-out" => What::Line(place.to_owned(), Direction::Output),
            "i2c" => What::I2c(file),
            "lm75" => What::Lm75(file, u16::from_str_radix(argument, 16).map_err(|_| syntax())?),
            "spi" => What::Spi(file, number()?),
            "uart" => What::Uart(file, number()?),
            "pwm" => What::Pwm(file, number()?),
            _ => return Err(syntax()),
        };
        Ok(Self { name: name.parse().map_err(|e| format!("{name:?}: {e}"))?, what })
    }
}

impl Wire {
    /// The capability that unlocks the device: what can be read is a sensor, what takes commands an actuator.
    pub fn capability(&self) -> String {
        let is_sensor = matches!(self.what, What::Line(_, Direction::Input) | What::Lm75(..));
        format!("{}.{}", if is_sensor { "sensors" } else { "actuators" }, self.name)
    }

    /// Whether the machine has what the device is wired to at present: the line, the bus, the port.
    pub fn is_there(&self, machine: &Machine) -> bool {
        let file = match &self.what {
            // A recording was there when it was opened.
            _ if machine.is_recorded() => return true,
            What::Line(line, _) => return gpio::is_there(machine, line),
            What::I2c(file) | What::Lm75(file, _) | What::Spi(file, _) | What::Uart(file, _) => {
                machine.path("dev").join(file)
            }
            What::Pwm(chip, _) => machine.path("sys/class/pwm").join(chip),
        };
        file.exists()
    }

    /// The device, or its twin. One that is not there yet says so when it is used.
    pub fn device(&self, machine: &Machine) -> Result<Arc<dyn Device>, DeviceError> {
        let dev = |file: &str| -> PathBuf { machine.path("dev").join(file) };
        let is_recorded = machine.is_recorded();
        Ok(match &self.what {
            What::Line(line, _) if is_recorded => Arc::new(ReplayLine::open(&dev("gpiochip0"), line)?),
            What::Line(line, direction) => Arc::new(Line::new(machine, line, *direction)),
            What::I2c(bus) if is_recorded => Arc::new(RawBus(ReplayBus::open(&dev(bus))?)),
            What::I2c(bus) => Arc::new(RawBus(LinuxBus::new(&dev(bus)))),
            What::Lm75(bus, address) if is_recorded => {
                in_background(self, Lm75 { bus: ReplayBus::open(&dev(bus))?, address: *address })
            }
            What::Lm75(bus, address) => {
                in_background(self, Lm75 { bus: LinuxBus::new(&dev(bus)), address: *address })
            }
            What::Spi(file, _) | What::Uart(file, _) if is_recorded => {
                Arc::new(ReplayBytes::open(&dev(file))?)
            }
            What::Spi(file, speed_hz) => Arc::new(Spi { file: dev(file), speed_hz: *speed_hz }),
            What::Uart(file, baud) => Arc::new(Uart::new(&dev(file), *baud)),
            What::Pwm(chip, channel) => {
                Arc::new(Pwm { chip: machine.path("sys/class/pwm").join(chip), channel: *channel })
            }
        })
    }
}

/// A bus may be slow, or stuck.
fn in_background<B: Bus + 'static>(wire: &Wire, chip: Lm75<B>) -> Arc<dyn Device> {
    Arc::new(Background::new(&wire.capability(), move || chip.read()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wires_are_written_as_people_say_them() {
        let capability = |text: &str| text.parse::<Wire>().map(|wire| wire.capability());
        assert_eq!(capability("button=gpio-in:GPIO17").as_deref(), Ok("sensors.button"));
        assert_eq!(capability("pump=gpio-out:GPIO27").as_deref(), Ok("actuators.pump"));
        assert_eq!(capability("air=lm75:i2c-1@48").as_deref(), Ok("sensors.air"));
        assert_eq!(capability("radio=uart:ttyS0@9600").as_deref(), Ok("actuators.radio"));
        for wrong in [
            "",
            "x",
            "x=y",
            "x=lm75:i2c-1",
            "x=uart:../etc@1",
            "x=pwm:pwmchip0@-1",
            "a b=gpio-in:G",
            "x=gpio-in:",
        ] {
            assert!(capability(wrong).is_err(), "{wrong}");
        }
    }
}
