//! The identity that ties an image to its PDB, taken from what the image contains.
//!
//! The linker takes it from the PDB, which names rustc's temporary folders: two builds of the same sources differ in it,
//! and in nothing else. Debuggers only ask that image and PDB agree.

use anyhow::{Context, Result, ensure};
use object::{Object, pe::IMAGE_DIRECTORY_ENTRY_DEBUG, read::pe::PeFile64};
use sha2::{Digest, Sha256};

/// Writes the identity into both; nothing else of them changes.
pub fn settle(image: &mut [u8], pdb: &mut [u8]) -> Result<()> {
    let file = PeFile64::parse(&*image)?;
    let present = file.pdb_info()?.context("the image names no PDB")?.guid();
    let places = time_places(&file)?;
    let in_image = only_place(image, &present).context("in the image")?;
    let in_pdb = only_place(pdb, &present).context("in the PDB")?;

    for &place in &places {
        image[place..place + 4].fill(0);
    }
    image[in_image..in_image + present.len()].fill(0);
    let digest = Sha256::digest(&*image);
    for place in places {
        image[place..place + 4].copy_from_slice(&digest[16..20]);
    }
    image[in_image..in_image + present.len()].copy_from_slice(&digest[..16]);
    pdb[in_pdb..in_pdb + present.len()].copy_from_slice(&digest[..16]);
    Ok(())
}

/// Where the image has time stamps, which the linker makes from the identity: in its header and in each debug entry.
fn time_places(file: &PeFile64<'_>) -> Result<Vec<usize>> {
    // Before it: signature (4), machine (2), number of sections (2).
    let mut places = vec![usize::try_from(file.dos_header().nt_headers_offset())? + 8];
    let directory = file.data_directory(IMAGE_DIRECTORY_ENTRY_DEBUG).context("the image has no debug directory")?;
    let (start, size) = directory.file_range(&file.section_table())?;
    let (start, end) = (usize::try_from(start)?, usize::try_from(start + size)?);
    // IMAGE_DEBUG_DIRECTORY: 28 bytes, the time stamp after the first four.
    places.extend((start..end).step_by(28).map(|entry| entry + 4));
    Ok(places)
}

fn only_place(bytes: &[u8], wanted: &[u8; 16]) -> Result<usize> {
    let mut places = bytes.windows(wanted.len()).enumerate().filter(|(_, window)| window == wanted);
    let (place, _) = places.next().context("the PDB's identity is not there")?;
    ensure!(places.next().is_none(), "the PDB's identity is there twice");
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_found_only_when_it_is_there_once() {
        let identity = [7; 16];
        let bytes = [&[0; 3][..], &identity, &[0; 5]].concat();
        assert_eq!(only_place(&bytes, &identity).unwrap(), 3);
        assert!(only_place(&[0; 40], &identity).is_err());
        assert!(only_place(&[bytes.clone(), bytes].concat(), &identity).is_err());
    }
}
