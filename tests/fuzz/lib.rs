//! What several targets do.

use pixgen_edge::data::Listing;

/// Reads every file of a listing, whatever comes of it.
pub fn read_all(listing: &Listing) {
    assert!(!listing.is_empty());
    let classes = listing.class_names().len();
    let mut bytes = Vec::new();
    for (index, label) in listing.labels().into_iter().enumerate() {
        assert!(usize::from(label) < classes);
        if let Err(bad) = listing.read(index, &mut bytes) {
            drop(bad.to_string());
        }
    }
}
