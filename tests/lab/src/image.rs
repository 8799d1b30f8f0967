//! The finished driver's image: read once into plain facts, which are then judged and shown.

pub mod checks;
pub mod exports;
pub mod report;

use std::{fs, path::Path};

use anyhow::{Context, Result};
use object::{
    LittleEndian as LE, pe,
    read::pe::{ImageNtHeaders, ImageOptionalHeader, Import as PeImport, PeFile64},
};
use serde::Serialize;

/// What an image says of itself.
#[derive(Clone, Serialize)]
pub struct Image {
    pub size: usize,
    pub sections: Vec<Section>,
    pub imports: Vec<Import>,
    #[serde(skip)]
    pub headers: Headers,
}

/// The header fields that decide whether, and how, Windows loads the image.
#[derive(Clone)]
pub struct Headers {
    pub machine: u16,
    pub subsystem: u16,
    pub characteristics: u16,
    pub dll_characteristics: u16,
    pub entry_point: u32,
    /// Bytes of base relocations.
    pub relocations: u32,
    /// Bytes of thread-local storage directory.
    pub thread_local_storage: u32,
}

/// One section.
#[derive(Clone, Serialize)]
pub struct Section {
    pub name: String,
    pub size: u32,
    pub read: bool,
    pub write: bool,
    pub execute: bool,
    pub discardable: bool,
}

impl Section {
    /// As `rwx`, with a `d` for discardable.
    pub fn access(&self) -> String {
        [
            (self.read, 'r'),
            (self.write, 'w'),
            (self.execute, 'x'),
            (self.discardable, 'd'),
        ]
        .map(|(has, letter)| if has { letter } else { '-' })
        .iter()
        .collect()
    }
}

/// One imported function or variable.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Import {
    pub module: String,
    pub name: String,
}

impl Image {
    /// Reads the image at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&bytes).with_context(|| format!("{} is not a 64-bit PE image", path.display()))
    }

    /// Reads an image from its file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let file = PeFile64::parse(bytes)?;
        let headers = file.nt_headers();
        let optional = headers.optional_header();
        let directory_size = |index| file.data_directory(index).map_or(0, |directory| directory.size.get(LE));
        Ok(Self {
            size: bytes.len(),
            sections: file.section_table().iter().map(section).collect(),
            imports: imports(&file)?,
            headers: Headers {
                machine: headers.file_header().machine.get(LE),
                characteristics: headers.file_header().characteristics.get(LE),
                subsystem: optional.subsystem(),
                dll_characteristics: optional.dll_characteristics(),
                entry_point: optional.address_of_entry_point(),
                relocations: directory_size(pe::IMAGE_DIRECTORY_ENTRY_BASERELOC),
                thread_local_storage: directory_size(pe::IMAGE_DIRECTORY_ENTRY_TLS),
            },
        })
    }

    /// Whether code that panics is linked: wdk-panic ends in a bug check.
    pub fn has_panic_path(&self) -> bool {
        self.imports.iter().any(|import| import.name.starts_with("KeBugCheck"))
    }
}

fn section(header: &pe::ImageSectionHeader) -> Section {
    let name = header.name.split(|byte| *byte == 0).next().unwrap_or_default();
    let has = |flag| header.characteristics.get(LE) & flag != 0;
    Section {
        name: String::from_utf8_lossy(name).into_owned(),
        size: header.virtual_size.get(LE),
        read: has(pe::IMAGE_SCN_MEM_READ),
        write: has(pe::IMAGE_SCN_MEM_WRITE),
        execute: has(pe::IMAGE_SCN_MEM_EXECUTE),
        discardable: has(pe::IMAGE_SCN_MEM_DISCARDABLE),
    }
}

fn imports(file: &PeFile64) -> Result<Vec<Import>> {
    let mut imports = Vec::new();
    let Some(table) = file.import_table()? else {
        return Ok(imports);
    };
    let mut descriptors = table.descriptors()?;
    while let Some(descriptor) = descriptors.next()? {
        let module = String::from_utf8_lossy(table.name(descriptor.name.get(LE))?).to_ascii_lowercase();
        let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE))?;
        while let Some(thunk) = thunks.next::<pe::ImageNtHeaders64>()? {
            let name = match table.import::<pe::ImageNtHeaders64>(thunk)? {
                PeImport::Ordinal(ordinal) => format!("#{ordinal}"),
                PeImport::Name(_, name) => String::from_utf8_lossy(name).into_owned(),
            };
            imports.push(Import {
                module: module.clone(),
                name,
            });
        }
    }
    imports.sort();
    Ok(imports)
}
