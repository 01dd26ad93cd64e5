//! Any bytes as a `.pxg` file, in three forms: as they are; with a right prefix; and with a body as long as the header's model needs.
//! What can be read is drawn.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pixgen_core::integer::{DrawError, DrawRequest, SelfTestError};
use pixgen_core::pxg::{MAGIC, Model, PREFIX_LEN, PxgError, VERSION};
use pixgen_edge::aligned::AlignedBytes;

/// The longest body that is made, and the largest workspace that is given, bytes.
const MOST: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let _ = read_and_draw(bytes);
    let mut file = bytes.to_vec();
    if seal(&mut file).is_none() {
        return;
    }
    if let Err(PxgError::Body { need, have }) = read_and_draw(&file)
        && let Ok(need) = usize::try_from(need)
        && need <= MOST
    {
        let start = file.len() - have;
        let body: Vec<u8> = file[start..].iter().copied().chain(std::iter::once(0)).cycle().take(need).collect();
        file.truncate(start);
        file.extend(body);
        let _ = seal(&mut file);
        let _ = read_and_draw(&file);
    }
});

/// Everything that is done with a file.
fn read_and_draw(bytes: &[u8]) -> Result<(), PxgError> {
    let file = AlignedBytes::copy(bytes);
    let model = Model::read(file.bytes())?;
    let len = model.workspace_len();
    if len > MOST {
        return Ok(());
    }
    let mut workspace = AlignedBytes::zeroed(len);
    let class = model.config().classes - 1;
    let _ = model.class_name(class);
    let usage = model.draw(&DrawRequest { class, seed: 1, number: 2 }, workspace.bytes_mut(), &mut |band| {
        band.rgb565().for_each(drop);
    });
    assert_eq!(usage.map(|usage| usage.workspace), Ok(len));
    match model.self_test(workspace.bytes_mut()) {
        Ok(_) | Err(SelfTestError::Missing | SelfTestError::Picture { .. } | SelfTestError::Draw(DrawError::Class { .. })) => Ok(()),
        Err(error) => panic!("{error}"),
    }
}

/// Makes magic, version, lengths and checksum right; the length of the header stays. `None` when the file is too short for that.
fn seal(file: &mut [u8]) -> Option<()> {
    let len = file.len();
    let (prefix, rest) = file.split_first_chunk_mut::<PREFIX_LEN>()?;
    let header_len = usize::from(u16::from_le_bytes([prefix[10], prefix[11]]));
    let start = (PREFIX_LEN + header_len).next_multiple_of(16);
    let body_len = u32::try_from(len.checked_sub(start)?).ok()?;
    prefix[..8].copy_from_slice(&MAGIC);
    prefix[8..10].copy_from_slice(&VERSION.to_le_bytes());
    prefix[12..16].copy_from_slice(&(start as u32).to_le_bytes());
    prefix[16..20].copy_from_slice(&body_len.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&prefix[..20]);
    crc.update(rest);
    prefix[20..].copy_from_slice(&crc.finalize().to_le_bytes());
    Some(())
}
