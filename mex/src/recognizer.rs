//! `recognizers/<name>.yaml`: what is to be recognised in a sensor's readings.

use crate::{
    error::MexError,
    topology::read_head,
    yaml::{self, Mapping, YamlError},
};
use zhost_base::{RecognizerSpec, recognizer::Rule};

const COUNT_MAX: u32 = 10_000;

/// Reads a recogniser, whose file must be named after it.
pub fn read(file: &str, bytes: &[u8]) -> Result<RecognizerSpec, MexError> {
    let recognizer = parse(bytes).map_err(|e| e.in_file(file))?;
    let rule = |reason: String| MexError::Rule { file: file.into(), reason };
    if file != format!("recognizers/{}.yaml", recognizer.name) {
        return Err(rule(format!("metadata.name is {}, but the file is not named so", recognizer.name)));
    }
    match recognizer.rule {
        Rule::Threshold { above, below } if below > above => {
            Err(rule("spec.below must not be higher than spec.above".into()))
        }
        Rule::Window { count, .. } if !(1..=COUNT_MAX).contains(&count) => {
            Err(rule(format!("spec.count must lie between 1 and {COUNT_MAX}")))
        }
        _ => Ok(recognizer),
    }
}

fn parse(bytes: &[u8]) -> Result<RecognizerSpec, YamlError> {
    let mut root = yaml::parse(bytes).and_then(yaml::Node::mapping)?;
    let name = read_head(&mut root, "Recognizer")?;
    let mut spec = root.required("spec")?.mapping()?;
    root.finish()?;
    let sensor = spec.value("sensor")?;
    let period_ms = spec.value("periodMs")?;
    let rule = read_rule(&mut spec)?;
    spec.finish()?;
    Ok(RecognizerSpec { name, sensor, period_ms, rule })
}

fn read_rule(spec: &mut Mapping) -> Result<Rule, YamlError> {
    let rule = spec.required("rule")?.text()?;
    Ok(match rule.as_str() {
        "threshold" => Rule::Threshold { above: spec.value("above")?, below: spec.value("below")? },
        "edge" => Rule::Edge(spec.value("edge")?),
        "debounce" => Rule::Debounce { stable_ms: spec.value("stableMs")? },
        "window" => Rule::Window { count: spec.value("count")?, figure: spec.value("figure")? },
        other => {
            return Err(YamlError::new(format!(
                "spec.rule: {other:.20?}: expected threshold, edge, debounce or window"
            )));
        }
    })
}
