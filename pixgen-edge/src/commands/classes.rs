//! Classes as users name them.

use crate::error::Error;
use pixgen_core::pxg::Model;

/// Numbers of the classes in `text`: `all`, or names and numbers separated by commas.
pub fn parse(flag: &str, text: &str, names: &[String]) -> Result<Vec<usize>, Error> {
    if text == "all" {
        return Ok((0..names.len()).collect());
    }
    let by_name = |text: &str| named(names, text);
    // A name may hold a comma, or begin with a space.
    if let Some(class) = by_name(text) {
        return Ok(vec![class]);
    }
    let one = |text: &str| {
        let by_number = || text.trim().parse::<usize>().ok().filter(|&n| n < names.len());
        by_name(text)
            .or_else(|| by_name(text.trim()))
            .or_else(by_number)
            .ok_or_else(|| Error::NoClass { flag: flag.to_owned(), text: text.to_owned(), names: names.to_vec() })
    };
    text.split(',').map(one).collect()
}

/// As [`parse`], and no class may come twice.
pub fn parse_distinct(flag: &str, text: &str, names: &[String]) -> Result<Vec<usize>, Error> {
    let classes = parse(flag, text, names)?;
    match classes.iter().enumerate().find(|(at, class)| classes[..*at].contains(class)) {
        Some((_, &class)) => Err(Error::ClassTwice { flag: flag.to_owned(), name: names[class].clone() }),
        None => Ok(classes),
    }
}

/// The class of a name as it is written, or else the only one that differs from it in nothing but upper and lower case.
pub fn named(names: &[String], text: &str) -> Option<usize> {
    let any_case = || {
        let mut alike = (0..names.len()).filter(|&class| names[class].eq_ignore_ascii_case(text));
        alike.next().filter(|_| alike.next().is_none())
    };
    names.iter().position(|name| name == text).or_else(any_case)
}

/// Names of the classes of a `.pxg` file; where a class has none, its number.
pub fn of_model(model: &Model<'_>) -> Vec<String> {
    or_numbers(model.class_names())
}

/// Names of `count` classes of a model file; where it gives none, or an empty one, the number.
pub fn of_file(given: &[String], count: usize) -> Vec<String> {
    or_numbers((0..count).map(|class| given.get(class).map(String::as_str).filter(|name| !name.is_empty())))
}

fn or_numbers<'a>(names: impl Iterator<Item = Option<&'a str>>) -> Vec<String> {
    let names = names.enumerate();
    names
        .map(|(number, name)| name.map_or_else(|| number.to_string(), str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_foreign_file_do_not_steer_the_terminal() {
        let names = ["\u{1b}]0;x\u{7}\nerror".to_owned()];
        let none = parse("--class", "nope", &names).expect_err("no such class");
        let twice = parse_distinct("--classes", "0,0", &names).expect_err("twice");
        for text in [none.to_string(), none.hint().expect("hint"), twice.to_string()] {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn names_numbers_and_all() {
        let names = of_file(&["Bag", "Ankle boot", ""].map(str::to_owned), 4);
        assert_eq!(names, ["Bag", "Ankle boot", "2", "3"]);
        let names = &names[..3];
        let parse = |text| parse("--class", text, names).ok();
        assert_eq!(parse("all"), Some(vec![0, 1, 2]));
        assert_eq!(parse("ankle boot, 0,2"), Some(vec![1, 0, 2]));
        let odd = [" a".to_owned(), "b, c".to_owned()];
        assert_eq!(super::parse("--class", " a", &odd).ok(), Some(vec![0]));
        assert_eq!(super::parse("--class", "b, c", &odd).ok(), Some(vec![1]));
        assert_eq!(parse("3"), None);
        assert_eq!(parse("Bag,bag"), Some(vec![0, 0]));
        assert!(parse_distinct("--classes", "0,Bag", names).is_err() && parse_distinct("--classes", "1,0", names).is_ok());
        let letters = ["X", "x", "Y"].map(str::to_owned);
        assert_eq!(["x", "X", "y", "Y"].map(|text| named(&letters, text)), [Some(1), Some(0), Some(2), Some(2)]);
        let alike = ["Ab", "aB"].map(str::to_owned);
        assert_eq!(named(&alike, "ab"), None);
        assert_eq!(parse(""), None);
    }
}
