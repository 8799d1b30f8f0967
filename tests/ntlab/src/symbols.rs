//! What a driver's code is called in its source: function, file and line, from the .pdb beside the .sys.
//!
//! One idea: whoever notes an address writes `image+offset`, which costs nothing; the .pdb is read when a violation is
//! shown, and everything of that form in it is explained then.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object::LittleEndian as LE;
use object::read::pe::PeFile64;
use parking_lot::Mutex;
use pdb_addr2line::ContextPdbData;
use pdb_addr2line::pdb::PDB;

/// A place in a driver's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The function, with its path.
    pub function: String,
    /// The file, as the compiler was told; empty when the symbols do not say.
    pub file: String,
    /// The line; 0 when the symbols do not say.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.function)?;
        match (self.file.as_str(), self.line) {
            ("", _) => Ok(()),
            (file, 0) => write!(f, " at {file}"),
            (file, line) => write!(f, " at {file}:{line}"),
        }
    }
}

/// The symbols of a machine's drivers. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Symbols(Arc<Vec<Module>>);

struct Module {
    name: String,
    path: PathBuf,
    known: Mutex<HashMap<u32, Vec<Place>>>,
}

impl fmt::Debug for Symbols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|module| &module.name)).finish()
    }
}

impl Symbols {
    /// The symbols of the images in these files.
    pub(crate) fn of(images: impl Iterator<Item = (String, PathBuf)>) -> Self {
        Self(Arc::new(images.map(|(name, path)| Module { name, path, known: Mutex::default() }).collect()))
    }

    /// The places of every `image+offset` in `text`; for code that was inlined, the inlined function first.
    pub(crate) fn places(&self, text: &str) -> Vec<Place> {
        self.found(text).into_iter().flat_map(|(module, offset, _)| module.places(offset)).collect()
    }

    /// `text`, with its place after every `image+offset`.
    pub(crate) fn explain(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (module, offset, end) in self.found(text).into_iter().rev() {
            let places: Vec<_> = module.places(offset).iter().map(ToString::to_string).collect();
            if !places.is_empty() {
                out.insert_str(end, &format!(" ({})", places.join(", inlined into ")));
            }
        }
        out
    }

    /// Every `image+offset` in `text`, and where it ends.
    fn found(&self, text: &str) -> Vec<(&Module, u32, usize)> {
        let mut found = Vec::new();
        for module in self.0.iter() {
            let mark = format!("{}+0x", module.name);
            for (at, _) in text.match_indices(&mark) {
                let digits = &text[at + mark.len()..];
                let length = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
                if let Ok(offset) = u32::from_str_radix(&digits[..length], 16) {
                    found.push((module, offset, at + mark.len() + length));
                }
            }
        }
        found.sort_by_key(|&(_, _, end)| end);
        found.dedup_by_key(|&mut (_, _, end)| end);
        found
    }
}

impl Module {
    fn places(&self, offset: u32) -> Vec<Place> {
        let mut known = self.known.lock();
        known.entry(offset).or_insert_with(|| self.look_up(offset).unwrap_or_default()).clone()
    }

    /// No symbols are no error: the offset stays as it is.
    fn look_up(&self, offset: u32) -> Option<Vec<Place>> {
        let pdb = PDB::open(File::open(self.path.with_extension("pdb")).ok()?).ok()?;
        let data = ContextPdbData::try_from_pdb(pdb).ok()?;
        let context = data.make_context().ok()?;
        // A return address belongs to the call before it.
        let address = if follows_call(&self.path, offset) { offset - 1 } else { offset };
        let frames = context.find_frames(address).ok()??.frames;
        let place = |frame: pdb_addr2line::Frame<'_>| Place {
            function: frame.function.unwrap_or_else(|| "?".to_owned()),
            file: frame.file.map_or_else(String::new, |file| file.replace('\\', "/")),
            line: frame.line.unwrap_or(0),
        };
        Some(frames.into_iter().map(place).collect())
    }
}

/// Whether the image's code has a call before `offset`.
fn follows_call(path: &Path, offset: u32) -> bool {
    let Ok(data) = std::fs::read(path) else { return false };
    let Ok(file) = PeFile64::parse(&*data) else { return false };
    let before = file.section_table().iter().find_map(|section| {
        let start = offset.checked_sub(section.virtual_address.get(LE))?.checked_sub(7)? as usize;
        section.pe_data(&*data).ok()?.get(start..start + 7)
    });
    before.and_then(|before| before.try_into().ok()).is_some_and(ends_in_call)
}

/// Whether code ends in a call instruction, as far as its bytes can tell.
pub(crate) fn ends_in_call(code: [u8; 7]) -> bool {
    let indirect = |at: usize| code[at] == 0xff && code[at + 1] & 0x38 == 0x10;
    code[2] == 0xe8 || [0, 1, 3, 4, 5].into_iter().any(indirect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_found_by_the_images_name() {
        let images = ["a.sys", "b.sys"].map(|name| (name.to_owned(), PathBuf::from(name)));
        let symbols = Symbols::of(images.into_iter());
        let text = "write by a.sys+0x12: freed by b.sys+0xaf, c.sys+0x1";
        let found: Vec<_> = symbols.found(text).iter().map(|&(module, offset, _)| (&*module.name, offset)).collect();
        assert_eq!(found, [("a.sys", 0x12), ("b.sys", 0xaf)]);
        assert_eq!(symbols.explain(text), text, "there are no symbols");
    }
}
