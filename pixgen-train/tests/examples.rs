//! The example trains, resumes and leaves what it says, on a folder of a few pictures.

#[allow(dead_code)]
#[path = "../examples/train_on_folder.rs"]
mod train_on_folder;

use image::{GrayImage, Luma};
use pixgen_edge::model_file::{Content, ModelFile};
use std::fs;

#[test]
fn a_folder_becomes_a_model_that_draws() {
    let folder = tempfile::tempdir().expect("folder");
    for (class, name) in ["rows", "columns"].into_iter().enumerate() {
        let class_folder = folder.path().join("pictures").join(name);
        fs::create_dir_all(&class_folder).expect("folder");
        for number in 0..8u32 {
            let shade = |x: u32, y: u32| Luma([if ([y, x][class] + number) % 7 < 3 { 230 } else { 20 }]);
            let path = class_folder.join(format!("{number}.png"));
            GrayImage::from_fn(28, 28, shade).save(path).expect("picture");
        }
    }
    let path = |name: &str| folder.path().join(name).display().to_string();
    train_on_folder::train(&path("pictures"), &path("run"), 512).expect("trains");
    let file = ModelFile::load_content(&folder.path().join("run"), Content::Generator).expect("a model");
    assert_eq!(file.header.images, 512);
    assert_eq!(file.header.class_names, ["columns", "rows"]);
    assert!(file.params.iter().all(|value| value.is_finite()));
    assert!(folder.path().join("run/samples/images-000000512-1step.png").exists());
}
