//! The log of a run as curves. Lines that cannot be read are counted and left out, so that the page shows the rest.

use crate::run::log_line::numbers;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Curves by the name of their field, over images seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// Names are those of [`numbers`]. Values that were not finite in training are NaN here.
    pub fields: BTreeMap<String, Vec<(f64, f64)>>,
    /// Images at the last line.
    pub images: u64,
    /// Lines that were read.
    pub lines: usize,
    /// Lines that could not be read.
    pub damaged: usize,
}

impl Log {
    /// Reads the bytes of `metrics.jsonl`.
    pub fn read(bytes: &[u8]) -> Self {
        let mut log = Self::default();
        for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let Some((images, fields)) = parse(line) else {
                log.damaged += 1;
                continue;
            };
            log.lines += 1;
            log.images = images;
            for (name, value) in numbers(&fields) {
                log.fields.entry(name).or_default().push((images as f64, value.unwrap_or(f64::NAN)));
            }
        }
        log
    }

    /// The last finite value of a field.
    pub fn last(&self, field: &str) -> Option<f64> {
        self.fields.get(field)?.iter().rev().map(|point| point.1).find(|value| value.is_finite())
    }

    /// The sum of a field, without what is not finite.
    pub fn sum(&self, field: &str) -> f64 {
        let values = self.fields.get(field).into_iter().flatten();
        values.map(|point| point.1).filter(|value| value.is_finite()).sum()
    }
}

fn parse(line: &[u8]) -> Option<(u64, Map<String, Value>)> {
    let mut fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let images = fields.remove("images")?.as_u64()?;
    Some((images, fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_whole() {
        let log = Log::read(
            b"{\"images\":10,\"loss\":2.5,\"rate\":1}\n\n{\"images\":20,\"loss\":null,\"stage\":\"x\"}\n{\"images\":\n[1]\n{\"loss\":1}\n\
              {\"images\":-1}\n\xff\xfe\n{\"images\":30,\"loss\":1.5,\"rate\":2",
        );
        assert_eq!((log.lines, log.damaged, log.images), (2, 6, 20));
        assert_eq!(log.fields.keys().collect::<Vec<_>>(), ["loss", "rate"]);
        assert_eq!(log.fields["loss"][0], (10.0, 2.5));
        assert!(log.fields["loss"][1].1.is_nan());
        assert_eq!((log.last("loss"), log.last("rate"), log.last("x")), (Some(2.5), Some(1.0), None));
        assert_eq!(log.sum("loss"), 2.5);
        assert_eq!(Log::read(b""), Log::default());
    }
}
