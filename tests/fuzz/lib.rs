//! What several targets do.

use pixgen_edge::data::Listing;

/// Makes this thread the only one that computes: handing a tiny input to another takes longer than all else.
pub fn one_thread() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| drop(rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global()));
}

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
