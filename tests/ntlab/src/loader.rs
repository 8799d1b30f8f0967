//! Maps a driver's image: sections, relocations, imports, protections.

use std::path::{Path, PathBuf};

use object::LittleEndian as LE;
use object::pe;
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, ImageThunkData, PeFile64};

use crate::memory::{Access, Region, whole_pages};
use crate::nt::PAGE_SIZE;
use crate::{documented, exports};

/// Why an image cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    Read(String, #[source] std::io::Error),
    /// It is no driver image that this processor could run.
    #[error("{0}: not a driver image: {1}")]
    Format(String, String),
    /// It imports what the lab does not have.
    #[error("{0} imports what the lab does not have: {list}", list = .1.join(", "))]
    Missing(String, Vec<String>),
    /// It imports what Windows of that build does not have yet.
    #[error("{0} imports what Windows build {1} does not have: {list}", list = .2.join(", "))]
    TooNew(String, u32, Vec<String>),
}

/// A mapped image.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) region: Region,
    pub(crate) name: String,
    /// The file it came from.
    pub(crate) path: PathBuf,
    pub(crate) entry: usize,
    /// The function table (`.pdata`), as (address, length).
    pub(crate) functions: (usize, usize),
    /// Sections that may be paged out, as (address, length, access).
    pub(crate) pageable: Vec<(usize, usize, Access)>,
    /// Sections that are discarded after initialization, as (address, length).
    discardable: Vec<(usize, usize)>,
}

impl Image {
    /// Loads the image in the file at `path`.
    pub(crate) fn load(path: &Path, windows: u32) -> Result<Self, LoadError> {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let data = std::fs::read(path).map_err(|error| LoadError::Read(path.display().to_string(), error))?;
        check_kind(&data).map_err(|error| LoadError::Format(name.clone(), error))?;
        let file = PeFile64::parse(&*data).map_err(|error| LoadError::Format(name.clone(), error.to_string()))?;
        Self::map(path, &name, &data, &file, windows)
    }

    fn map(path: &Path, name: &str, data: &[u8], file: &PeFile64, windows: u32) -> Result<Self, LoadError> {
        let bad = |error: &dyn ToString| LoadError::Format(name.to_owned(), error.to_string());
        let headers = file.nt_headers();
        let optional = headers.optional_header();
        let region = Region::map(optional.size_of_image() as usize, Access::ReadWrite).map_err(|error| bad(&error))?;
        let base = region.base();
        let put = |at: usize, bytes: &[u8]| {
            if at + bytes.len() > region.size() {
                return Err(bad(&"a section lies outside of the image"));
            }
            // SAFETY: the range is inside the region, which is writable and not shared yet.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), (base + at) as *mut u8, bytes.len()) };
            Ok(())
        };
        put(0, data.get(..optional.size_of_headers() as usize).unwrap_or_default())?;
        for section in file.section_table().iter() {
            let (bytes, at) =
                (section.pe_data(data).map_err(|error| bad(&error))?, section.virtual_address.get(LE) as usize);
            if !at.is_multiple_of(PAGE_SIZE) {
                return Err(bad(&format!("a section ({at:#x}) does not begin at a page")));
            }
            put(at, bytes)?;
        }
        relocate(file, data, &region).map_err(|error| bad(&error))?;
        let (missing, newer) = bind(file, &region, windows).map_err(|error| bad(&error))?;
        if !missing.is_empty() {
            return Err(LoadError::Missing(name.to_owned(), missing));
        }
        if !newer.is_empty() {
            return Err(LoadError::TooNew(name.to_owned(), windows, newer));
        }
        let (discardable, pageable) = protect(file, &region);
        let entry = optional.address_of_entry_point() as usize;
        if entry == 0 || entry >= region.size() {
            return Err(bad(&format!("its entry point ({entry:#x}) lies outside of the image")));
        }
        let entry = base + entry;
        let table = file.data_directory(pe::IMAGE_DIRECTORY_ENTRY_EXCEPTION);
        let table = table.map_or((0, 0), pe::ImageDataDirectory::address_range);
        let (start, length) = (table.0 as usize, table.1 as usize);
        let inside = start.checked_add(length).is_some_and(|end| end <= region.size());
        let functions = if inside { (base + start, length / 12 * 12) } else { (0, 0) };
        Ok(Self { region, name: name.to_owned(), path: path.to_owned(), entry, functions, pageable, discardable })
    }

    /// Drops the sections that are only needed by `DriverEntry`.
    pub(crate) fn discard_init(&self) {
        for &(address, length) in &self.discardable {
            self.region.protect(address, length, Access::None);
        }
    }

    /// Makes the whole image inaccessible: whoever still runs it or reads it faults.
    pub(crate) fn unmap(&self) {
        self.region.protect(self.region.base(), self.region.size(), Access::None);
    }
}

/// Tells what is no PE image for this processor, before anything else of it is looked at.
fn check_kind(data: &[u8]) -> Result<(), String> {
    let word = |at: usize| data.get(at..at + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    if !data.starts_with(b"MZ") {
        return Err("no PE file, it does not begin with `MZ`".to_owned());
    }
    let header = usize::from(word(0x3c).unwrap_or(0)) | usize::from(word(0x3e).unwrap_or(0)) << 16;
    if data.get(header..header + 4) != Some(b"PE\0\0") {
        return Err("no PE file, there is no PE header".to_owned());
    }
    let other = match word(header + 4).unwrap_or(0) {
        pe::IMAGE_FILE_MACHINE_AMD64 => return Ok(()),
        pe::IMAGE_FILE_MACHINE_I386 => "x86",
        pe::IMAGE_FILE_MACHINE_ARM64 => "ARM64",
        pe::IMAGE_FILE_MACHINE_ARMNT => "ARM",
        _ => "an unknown processor",
    };
    Err(format!("it is for another processor ({other}); the lab runs x64"))
}

/// A value in the image. The image is writable and nobody else's while it is being bound.
fn cell(region: &Region, rva: usize) -> Result<*mut u64, String> {
    if rva + 8 > region.size() {
        return Err(format!("an address to patch ({rva:#x}) lies outside of the image"));
    }
    Ok((region.base() + rva) as *mut u64)
}

fn relocate(file: &PeFile64, data: &[u8], region: &Region) -> Result<(), String> {
    let delta = (region.base() as u64).wrapping_sub(file.nt_headers().optional_header().image_base());
    let blocks = file.data_directories().relocation_blocks(data, &file.section_table());
    let Some(mut blocks) = blocks.map_err(|error| error.to_string())? else {
        let stripped = file.nt_headers().file_header().characteristics.get(LE) & pe::IMAGE_FILE_RELOCS_STRIPPED != 0;
        return if stripped { Err("its relocations are stripped".to_owned()) } else { Ok(()) };
    };
    while let Some(block) = blocks.next().map_err(|error| error.to_string())? {
        for entry in block {
            match entry.typ {
                pe::IMAGE_REL_BASED_ABSOLUTE => {}
                pe::IMAGE_REL_BASED_DIR64 => {
                    let cell = cell(region, entry.virtual_address as usize)?;
                    // SAFETY: `cell` lies in the writable image.
                    let value = unsafe { cell.read_unaligned() };
                    // SAFETY: `cell` lies in the writable image.
                    unsafe { cell.write_unaligned(value.wrapping_add(delta)) };
                }
                other => return Err(format!("relocation of type {other}")),
            }
        }
    }
    Ok(())
}

/// Binds the imports and returns the names of those that the lab lacks, and of those that came after build `windows`.
fn bind(file: &PeFile64, region: &Region, windows: u32) -> Result<(Vec<String>, Vec<String>), String> {
    let text = |error: object::read::Error| error.to_string();
    let (mut missing, mut newer) = (Vec::new(), Vec::new());
    let Some(table) = file.import_table().map_err(text)? else { return Ok((missing, newer)) };
    let mut modules = table.descriptors().map_err(text)?;
    while let Some(module) = modules.next().map_err(text)? {
        let module_name = String::from_utf8_lossy(table.name(module.name.get(LE)).map_err(text)?).into_owned();
        let names = if module.original_first_thunk.get(LE) == 0 {
            module.first_thunk.get(LE)
        } else {
            module.original_first_thunk.get(LE)
        };
        let mut thunks = table.thunks(names).map_err(text)?;
        let mut slot = module.first_thunk.get(LE) as usize;
        while let Some(thunk) = thunks.next::<pe::ImageNtHeaders64>().map_err(text)? {
            if thunk.is_ordinal() {
                missing.push(format!("{module_name}!#{}", thunk.ordinal()));
            } else {
                let (_, name) = table.hint_name(thunk.address()).map_err(text)?;
                let name = String::from_utf8_lossy(name);
                if documented::is_newer(&name, windows) {
                    newer.push(format!("{module_name}!{name}"));
                }
                match exports::bindings().get(&*name) {
                    Some(found) if is_module(&module_name, found.module) => {
                        let cell = cell(region, slot)?;
                        // SAFETY: `cell` lies in the writable image.
                        unsafe { cell.write_unaligned(found.address as u64) };
                    }
                    _ => missing.push(format!("{module_name}!{name}")),
                }
            }
            slot += 8;
        }
    }
    Ok((missing, newer))
}

/// Whether an import from `wanted` may be bound to an export of `has`. On x64 hal.dll only forwards to ntoskrnl.exe.
fn is_module(wanted: &str, has: &str) -> bool {
    wanted.eq_ignore_ascii_case(has)
        || (wanted.eq_ignore_ascii_case("hal.dll") && has.eq_ignore_ascii_case("ntoskrnl.exe"))
}

/// Sections as (address, length), and with what may be done with them.
type Discardable = Vec<(usize, usize)>;
type Pageable = Vec<(usize, usize, Access)>;

/// Gives each section its protection and returns the discardable and the pageable ones.
fn protect(file: &PeFile64, region: &Region) -> (Discardable, Pageable) {
    let (mut discardable, mut pageable) = (Vec::new(), Vec::new());
    region.protect(region.base(), region.size(), Access::Read);
    for section in file.section_table().iter() {
        let flags = section.characteristics.get(LE);
        let start = region.base() + section.virtual_address.get(LE) as usize;
        let length = whole_pages(section.virtual_size.get(LE) as usize).min(region.base() + region.size() - start);
        let access = match (flags & pe::IMAGE_SCN_MEM_WRITE != 0, flags & pe::IMAGE_SCN_MEM_EXECUTE != 0) {
            (true, true) => Access::All,
            (true, false) => Access::ReadWrite,
            (false, true) => Access::Execute,
            (false, false) => Access::Read,
        };
        region.protect(start, length, access);
        if flags & pe::IMAGE_SCN_MEM_DISCARDABLE != 0 {
            discardable.push((start, length));
        } else if section.name.starts_with(b"PAGE") && start.is_multiple_of(PAGE_SIZE) && length != 0 {
            pageable.push((start, length, access));
        }
    }
    (discardable, pageable)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver with one section, `ret`, and no imports.
    fn smallest() -> Vec<u8> {
        let mut image = vec![0; 0x400];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(0x3c, &0x40_u32.to_le_bytes());
        put(0x40, b"PE\0\0\x64\x86\x01\0"); // AMD64, one section
        put(0x54, &0xf0_u16.to_le_bytes()); // SizeOfOptionalHeader
        put(0x56, &0x22_u16.to_le_bytes()); // executable, of large addresses
        put(0x58, &0x20b_u16.to_le_bytes()); // PE32+
        for (at, value) in [
            (0x68, 0x1000_u32),   // AddressOfEntryPoint
            (0x78, 0x1000),       // SectionAlignment
            (0x7c, 0x200),        // FileAlignment
            (0x90, 0x2000),       // SizeOfImage
            (0x94, 0x200),        // SizeOfHeaders
            (0xc4, 16),           // NumberOfRvaAndSizes
            (0x150, 1),           // of the section: VirtualSize,
            (0x154, 0x1000),      // VirtualAddress,
            (0x158, 0x200),       // SizeOfRawData,
            (0x15c, 0x200),       // PointerToRawData,
            (0x16c, 0x6000_0020), // and that it is code
        ] {
            put(at, &value.to_le_bytes());
        }
        put(0x148, b".text");
        put(0x200, b"\xc3");
        image
    }

    fn load(name: &str, bytes: &[u8]) -> Result<Image, LoadError> {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("ntlab-{}-{name}.sys", std::process::id()));
        std::fs::write(&path, bytes).expect("a file in the temporary folder");
        let outcome = Image::load(&path, 19041);
        std::fs::remove_file(path).expect("it is there");
        outcome
    }

    #[test]
    fn the_smallest_image_is_loaded() {
        let image = load("smallest", &smallest()).unwrap();
        assert_eq!(image.entry, image.region.base() + 0x1000);
    }

    #[test]
    fn a_section_begins_at_a_page() {
        let mut image = smallest();
        image[0x154] = 8;
        let error = load("unaligned", &image).unwrap_err().to_string();
        assert!(error.contains("a section (0x1008) does not begin at a page"), "{error}");
    }

    /// Neither panics nor crashes: what is loaded all the same is not run here.
    #[test]
    fn an_image_of_which_any_byte_of_the_headers_is_wrong_is_refused_or_loaded() {
        let (image, mut refused) = (smallest(), 0);
        for at in 0..0x180 {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut image = image.clone();
                image[at] = value;
                refused += u32::from(load("wrong", &image).is_err());
            }
        }
        assert!(refused > 50, "{refused}");
    }
}
