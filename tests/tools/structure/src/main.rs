//! What the sources of the workspace look like from above.
//!
//!     structure circles CRATE...          fails on files that import each other in a circle, and says which lines do it
//!     structure detours CRATE...          fails on re-exports of what is defined neither in the module nor below it
//!     structure rooms CRATE...            top-level modules, the imports between them, and how many go up at best
//!     structure types CRATE...            public types whose name stands more than once
//!     structure functions CRATE...        the longest functions outside tests
//!     structure lines CRATE...            lines with and without tests
//!
//! CRATE is a folder with `src/lib.rs`, `src/main.rs` or both.

mod graph;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use source::{Place, Source};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((what, crates)) = arguments.split_first().filter(|(_, crates)| !crates.is_empty()) else {
        eprintln!("usage: structure circles|detours|rooms|types|functions|lines CRATE...");
        return ExitCode::from(2);
    };
    let read = || {
        crates
            .iter()
            .map(|name| Ok((name.clone(), read_crate(name)?)))
            .collect::<Result<Vec<_>, String>>()
    };
    match read() {
        Ok(crates) => match what.as_str() {
            "circles" => return circles(&crates),
            "detours" => return detours(&crates),
            "rooms" => rooms(&crates),
            "types" => types(&crates),
            "functions" => functions(&crates),
            "lines" => lines(&crates),
            other => {
                eprintln!("structure: no report `{other}`");
                return ExitCode::from(2);
            }
        },
        Err(error) => {
            eprintln!("structure: {error}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// The library and the program of a crate, each a crate of its own for the compiler.
fn read_crate(folder: &str) -> Result<Vec<Source>, String> {
    let roots = ["src/lib.rs", "src/main.rs"].map(|root| PathBuf::from(folder).join(root));
    let sources: Vec<_> = roots
        .iter()
        .filter(|root| root.is_file())
        .map(|root| Source::read(root))
        .collect::<Result<_, _>>()?;
    if sources.is_empty() {
        Err(format!("{folder}: neither src/lib.rs nor src/main.rs"))
    } else {
        Ok(sources)
    }
}

type Crates = [(String, Vec<Source>)];

fn all(crates: &Crates) -> impl Iterator<Item = (&str, &Source)> {
    crates
        .iter()
        .flat_map(|(name, sources)| sources.iter().map(move |source| (name.as_str(), source)))
}

fn circles(crates: &Crates) -> ExitCode {
    let mut count = 0;
    for (_, source) in all(crates) {
        let path = |file: usize| source.files[file].path.display();
        let imports = graph::imports(source);
        for circle in graph::circles(source.files.len(), &imports) {
            count += 1;
            println!("circle {count}: {} files import each other", circle.len());
            for (&(from, to), lines) in imports.iter().filter(|((from, to), _)| circle.contains(from) && circle.contains(to)) {
                println!("  {} takes from {}", path(from), path(to));
                for &line in lines.iter().take(3) {
                    println!("    {line}: {}", source.files[from].text[line - 1].trim());
                }
            }
        }
    }
    let files: usize = all(crates).map(|(_, source)| source.files.len()).sum();
    println!("{count} circles of imports in {files} files");
    if count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn detours(crates: &Crates) -> ExitCode {
    let mut count = 0;
    for (_, source) in all(crates) {
        for (file, line) in graph::detours(source) {
            count += 1;
            let file = &source.files[file];
            println!("{}:{line}: {}", file.path.display(), file.text[line - 1].trim());
        }
    }
    println!("{count} re-exports show a thing where it does not live");
    if count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn rooms(crates: &Crates) {
    for (name, source) in all(crates) {
        let mut room = BTreeMap::new();
        for (name, &module) in &source.modules[0].children {
            for (id, inner) in source.modules.iter().enumerate() {
                if id == module || ancestors(source, id).any(|a| a == module) {
                    room.insert(inner.file, name.as_str());
                }
            }
        }
        room.remove(&source.modules[0].file);
        let imports = graph::imports(source);
        let arrows: BTreeSet<_> = imports
            .keys()
            .filter_map(|(from, to)| Some((*room.get(from)?, *room.get(to)?)))
            .filter(|(from, to)| from != to)
            .collect();
        let order = best_order(room.values().copied().collect(), &arrows);
        let up = upward(&order, &arrows);
        println!("{name}: {} rooms, {} arrows, {} up", order.len(), arrows.len(), up.len());
        println!("  from the top: {}", order.join(", "));
        for (from, to) in up {
            println!("  up: {from} -> {to}");
        }
    }
}

type Arrow<'a> = (&'a str, &'a str);

/// The arrows that go against the order, in which what uses stands before what is used.
fn upward<'a>(order: &[&str], arrows: &BTreeSet<Arrow<'a>>) -> Vec<Arrow<'a>> {
    let place = |name: &str| order.iter().position(|room| *room == name);
    arrows.iter().copied().filter(|(from, to)| place(to) < place(from)).collect()
}

/// Rooms so ordered that few arrows go up: none can be moved to another place with a gain.
fn best_order<'a>(rooms: BTreeSet<&'a str>, arrows: &BTreeSet<Arrow<'a>>) -> Vec<&'a str> {
    let mut order: Vec<_> = rooms.into_iter().collect();
    let mut least = upward(&order, arrows).len();
    let mut moved = true;
    while std::mem::take(&mut moved) {
        for from in 0..order.len() {
            for to in 0..order.len() {
                let mut other = order.clone();
                let room = other.remove(from);
                other.insert(to, room);
                let count = upward(&other, arrows).len();
                if count < least {
                    (order, least, moved) = (other, count, true);
                }
            }
        }
    }
    order
}

fn ancestors(source: &Source, module: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(source.modules[module].parent, |&module| source.modules[module].parent)
}

fn places<'a>(crates: &'a Crates, list: fn(&'a Source) -> &'a [Place]) -> impl Iterator<Item = (&'a Place, String)> {
    all(crates).flat_map(move |(_, source)| {
        list(source)
            .iter()
            .map(|place| (place, format!("{}:{}", source.files[place.file].path.display(), place.line)))
    })
}

fn types(crates: &Crates) {
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (place, location) in places(crates, |source| &source.public_types) {
        by_name.entry(&place.name).or_default().push(location);
    }
    by_name.retain(|_, locations| locations.len() > 1);
    for (name, locations) in &by_name {
        println!("{name} {}: {}", locations.len(), locations.join(" "));
    }
    println!("{} names of public types stand more than once", by_name.len());
}

fn functions(crates: &Crates) {
    let mut functions: Vec<_> = places(crates, |source| &source.functions).collect();
    functions.sort_by_key(|(place, _)| std::cmp::Reverse(place.lines));
    for (place, location) in functions.iter().take(20) {
        println!("{:4}  {}  {location}", place.lines, place.name);
    }
}

fn lines(crates: &Crates) {
    for (name, sources) in crates {
        let files = || sources.iter().flat_map(|source| &source.files);
        let with: usize = files().map(|file| file.text.len()).sum();
        let tests: usize = files().map(|file| file.test_lines).sum();
        println!("{name}: {with} lines in {} files, {} without their tests", files().count(), with - tests);
    }
}
