//! "Did you mean": the known name that looks most like an unknown one.

/// Similarity below which a suggestion would only confuse.
const THRESHOLD: f64 = 0.8;

/// The member of `known` most similar to `unknown`, if any is similar enough.
///
/// A dotted name that ends in the same word but sits in another section (`batch` for `train.batch`) counts as very similar.
pub(crate) fn closest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|name| (similarity(unknown, name), name))
        .filter(|(score, _)| *score >= THRESHOLD)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name.to_owned())
}

fn similarity(unknown: &str, name: &str) -> f64 {
    let whole = strsim::jaro_winkler(unknown, name);
    let (section, word) = split(unknown);
    let (known_section, known_word) = split(name);
    if section == known_section {
        // Within a section only the last word is in doubt.
        return strsim::jaro_winkler(word, known_word);
    }
    if word == known_word {
        return whole.max(0.95);
    }
    whole
}

fn split(dotted: &str) -> (&str, &str) {
    dotted.rsplit_once('.').unwrap_or(("", dotted))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["model.width", "train.batch", "train.learning_rate", "seed"];

    #[test]
    fn finds_typos_and_wrong_sections() {
        let closest = |unknown| closest(unknown, KNOWN);
        assert_eq!(closest("train.bacth").as_deref(), Some("train.batch"));
        assert_eq!(closest("batch").as_deref(), Some("train.batch"));
        assert_eq!(closest("model.batch").as_deref(), Some("train.batch"));
        assert_eq!(closest("sed").as_deref(), Some("seed"));
        assert_eq!(closest("train.learningrate").as_deref(), Some("train.learning_rate"));
    }

    #[test]
    fn keeps_silent_when_nothing_is_near() {
        assert_eq!(closest("train.quux", KNOWN), None);
        assert_eq!(closest("", KNOWN), None);
    }
}
