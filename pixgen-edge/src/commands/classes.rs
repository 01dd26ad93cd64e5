//! Classes as users name them.

use crate::error::Error;
use pixgen_core::pxg::Model;

/// Numbers of the classes in `text`: `all`, or names and numbers separated by commas.
pub fn parse(flag: &str, text: &str, names: &[String]) -> Result<Vec<usize>, Error> {
    if text == "all" {
        return Ok((0..names.len()).collect());
    }
    let by_name = |text: &str| names.iter().position(|name| name.eq_ignore_ascii_case(text));
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

/// Names of the classes of a `.pxg` file.
pub fn of_model(model: &Model<'_>) -> Vec<String> {
    let classes = model.config().classes;
    names((0..classes).map_while(|class| model.class_name(class)), classes)
}

/// Names of `count` classes: those given, then numbers.
pub fn names<'a>(given: impl Iterator<Item = &'a str>, count: usize) -> Vec<String> {
    let mut names: Vec<String> = given.take(count).map(str::to_owned).collect();
    for number in names.len()..count {
        names.push(number.to_string());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_all() {
        let names = names(["Bag", "Ankle boot"].into_iter(), 3);
        assert_eq!(names, ["Bag", "Ankle boot", "2"]);
        let parse = |text| parse("--class", text, &names).ok();
        assert_eq!(parse("all"), Some(vec![0, 1, 2]));
        assert_eq!(parse("ankle boot, 0,2"), Some(vec![1, 0, 2]));
        let odd = [" a".to_owned(), "b, c".to_owned()];
        assert_eq!(super::parse("--class", " a", &odd).ok(), Some(vec![0]));
        assert_eq!(super::parse("--class", "b, c", &odd).ok(), Some(vec![1]));
        assert_eq!(parse("3"), None);
        assert_eq!(parse(""), None);
    }
}
