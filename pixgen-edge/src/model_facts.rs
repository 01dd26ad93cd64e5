//! What a `.pxg` file says about its model, for people.

use crate::terminal::printable;
use crate::units::{counted, format_bytes, format_images};
use pixgen_core::config::Tower;
use pixgen_core::integer::plan::plan_sites;
use pixgen_core::pxg::{Model, VERSION};

/// Facts of a model: what each is, and the fact. Names in them are as the file has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFacts(pub Vec<(&'static str, String)>);

impl ModelFacts {
    /// Those of a model with these names of classes.
    pub fn new(model: &Model<'_>, class_names: &[String]) -> Self {
        let header = model.header();
        let m = &header.model;
        let macs = plan_sites(m, model.steps(), &mut |_| ()).macs;
        Self(vec![
            ("model", header.name.to_owned()),
            ("picture", format!("{} x {} x {}, patches of {}", m.size, m.size, m.channels, m.patch)),
            ("encoder", tower(m.encoder)),
            ("decoder", tower(m.decoder)),
            ("steps", model.steps().to_string()),
            ("classes", class_names.join(", ")),
            ("images seen", format_images(header.images)),
            ("weights' CRC-32", format!("{:08x}", header.source)),
            ("self-tests", header.tests.to_string()),
            ("file", format!("{}, format {VERSION}", format_bytes(model.file_len() as u64))),
            ("workspace", format_bytes(model.workspace_len() as u64)),
            ("MACs", format!("{:.2} M", macs as f64 / 1e6)),
        ])
    }

    /// A line for each, for a terminal.
    pub fn text(&self) -> String {
        let line = |(what, fact): &(&str, String)| format!("{what:<16} {}\n", printable(fact));
        self.0.iter().map(line).collect()
    }
}

fn tower(t: Tower) -> String {
    format!("{}, width {}, {}", counted(t.depth, "block", "blocks"), t.width, counted(t.heads, "head", "heads"))
}
