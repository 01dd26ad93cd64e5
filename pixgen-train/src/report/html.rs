//! HTML as a tree that closes what it opens; every text from outside is escaped on its way in.

use std::fmt::Write as _;

/// Elements that have no content.
const VOID: [&str; 5] = ["meta", "img", "br", "line", "polyline"];

/// A piece of a page in the making.
#[derive(Debug, Default)]
pub struct Html {
    text: String,
}

impl Html {
    /// An element with what `content` puts into it.
    pub fn node(&mut self, tag: &str, attributes: &[(&str, &str)], content: impl FnOnce(&mut Self)) {
        debug_assert!(!VOID.contains(&tag), "{tag}");
        self.open(tag, attributes);
        self.text.push('>');
        content(self);
        let _ = writeln!(self.text, "</{tag}>"); // a String takes everything
    }

    /// An element with a text.
    pub fn element(&mut self, tag: &str, attributes: &[(&str, &str)], text: &str) {
        self.node(tag, attributes, |html| html.text(text));
    }

    /// An element without content.
    pub fn void(&mut self, tag: &str, attributes: &[(&str, &str)]) {
        debug_assert!(VOID.contains(&tag), "{tag}");
        self.open(tag, attributes);
        self.text.push_str("/>");
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        escape(text, &mut self.text);
    }

    /// Text of our own that must stay as it is: a style.
    pub fn raw(&mut self, text: &'static str) {
        self.text.push_str(text);
    }

    /// A table with a head; cells are texts.
    pub fn table(&mut self, head: &[String], rows: &[Vec<String>]) {
        self.node("div", &[("class", "wide")], |html| {
            html.node("table", &[], |html| {
                html.node("thead", &[], |html| html.node("tr", &[], |html| head.iter().for_each(|cell| html.element("th", &[], cell))));
                html.node("tbody", &[], |html| {
                    for row in rows {
                        html.node("tr", &[], |html| {
                            for cell in row {
                                let class = if cell.parse::<f64>().is_ok() { "number" } else { "word" };
                                html.element("td", &[("class", class)], cell);
                            }
                        });
                    }
                });
            });
        });
    }

    /// The page so far.
    pub fn into_string(self) -> String {
        self.text
    }

    fn open(&mut self, tag: &str, attributes: &[(&str, &str)]) {
        let _ = write!(self.text, "<{tag}");
        for (name, value) in attributes {
            let _ = write!(self.text, " {name}=\"");
            escape(value, &mut self.text);
            self.text.push('"');
        }
    }
}

/// Escapes for text and for attributes in double quotes. Control characters that HTML forbids become U+FFFD.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
}

/// Looking at pages in tests.
#[cfg(test)]
pub(super) mod reading {
    /// Fails unless every element is closed in its turn and every attribute is quoted; returns the names of all elements.
    pub fn elements(page: &str) -> Vec<String> {
        let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap_or(page);
        let (mut stack, mut seen) = (Vec::new(), Vec::new());
        while let Some(at) = rest.find('<') {
            assert!(!rest[..at].contains('>'), "a bare > before {:?}", &rest[at..rest.len().min(at + 40)]);
            rest = &rest[at + 1..];
            let mut quoted = false;
            let end = rest.find(|c: char| {
                quoted ^= c == '"';
                assert!(c != '<', "a bare < in {:?}", &rest[..rest.len().min(60)]);
                c == '>' && !quoted
            });
            let tag = &rest[..end.unwrap_or_else(|| panic!("no end of {:?}", &rest[..rest.len().min(60)]))];
            rest = &rest[tag.len() + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(stack.pop().as_deref(), Some(name));
                continue;
            }
            let name: String = tag.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
            let outside = tag.split('"').step_by(2);
            let quoted = |part: &str| !part.trim_end_matches('=').contains('=');
            let named = outside.clone().filter(|part| part.ends_with('=')).count();
            assert!(outside.clone().all(quoted) && outside.count() == named + 1, "{tag}");
            seen.push(name.clone());
            // Scripts and styles are no markup.
            if name == "script" || name == "style" {
                let end = rest.find(&format!("</{name}>")).expect("the end of a script or style");
                rest = &rest[end..];
            }
            if !tag.ends_with('/') {
                stack.push(name);
            }
        }
        assert!(stack.is_empty(), "open: {stack:?}");
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_opened_is_closed_and_texts_are_escaped() {
        let mut html = Html::default();
        html.node("p", &[("class", "\"><script>")], |html| {
            html.text("a < b & c > d 'e' \"f\" \u{7} \u{1b}[31m");
            html.void("br", &[]);
        });
        let text = html.into_string();
        assert_eq!(reading::elements(&text), ["p", "br"]);
        assert!(text.contains("class=\"&quot;&gt;&lt;script&gt;\""), "{text}");
        assert!(text.contains("a &lt; b &amp; c &gt; d &#39;e&#39; &quot;f&quot; \u{FFFD} \u{FFFD}[31m"), "{text}");
    }

    #[test]
    fn tables_tell_numbers_from_words() {
        let mut html = Html::default();
        html.table(&["<a>".to_owned()], &[vec!["1.5e-3".to_owned()], vec!["one".to_owned()]]);
        let text = html.into_string();
        reading::elements(&text);
        for part in [
            "<th>&lt;a&gt;</th>",
            "<td class=\"number\">1.5e-3</td>",
            "<td class=\"word\">one</td>",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
