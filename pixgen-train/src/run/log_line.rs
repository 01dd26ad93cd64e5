//! The numbers in a line of `metrics.jsonl`, by name.

use serde_json::{Map, Value};

/// Names and values of all numbers in a line; `None` for those that were not finite. Numbers of nested objects are called `quality/fd`, and
/// losses by noise level after the lowest and highest level: `loss_by_noise/0.5 to 2`.
pub fn numbers(fields: &Map<String, Value>) -> Vec<(String, Option<f64>)> {
    fn visit(prefix: &str, fields: &Map<String, Value>, found: &mut Vec<(String, Option<f64>)>) {
        for (name, value) in fields {
            let name = format!("{prefix}{name}");
            match value {
                Value::Null | Value::Number(_) => found.push((name, value.as_f64())),
                Value::Object(inner) => visit(&format!("{name}/"), inner, found),
                Value::Array(items) => found.extend(items.iter().filter_map(|item| {
                    let level = |key: &str| item.get(key).and_then(Value::as_f64).map(level_name);
                    Some((format!("{name}/{} to {}", level("t_low")?, level("t_high")?), item.get("loss")?.as_f64()))
                })),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    visit("", fields, &mut found);
    found
}

/// `0.0123`: levels are names here, which must not differ in a last digit.
fn level_name(value: f64) -> String {
    let text = format!("{value:.2e}");
    text.parse::<f64>().map_or(text, |value| value.to_string())
}
