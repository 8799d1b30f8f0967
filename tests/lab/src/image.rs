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

/// What an image says of itself.
#[derive(Clone)]
pub struct Image {
    pub size: usize,
    pub sections: Vec<Section>,
    pub imports: Vec<Import>,
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
#[derive(Clone)]
pub struct Section {
    pub name: String,
    pub size: u32,
    /// `IMAGE_SCN_` flags.
    pub characteristics: u32,
}

impl Section {
    /// As `rwx`, with a `d` for discardable.
    pub fn access(&self) -> String {
        [
            (pe::IMAGE_SCN_MEM_READ, 'r'),
            (pe::IMAGE_SCN_MEM_WRITE, 'w'),
            (pe::IMAGE_SCN_MEM_EXECUTE, 'x'),
            (pe::IMAGE_SCN_MEM_DISCARDABLE, 'd'),
        ]
        .map(|(flag, letter)| if self.characteristics & flag == 0 { '-' } else { letter })
        .iter()
        .collect()
    }

    /// Whether what runs there can be written there.
    pub fn is_writable_code(&self) -> bool {
        let both = pe::IMAGE_SCN_MEM_WRITE | pe::IMAGE_SCN_MEM_EXECUTE;
        self.characteristics & both == both
    }
}

/// One imported function or variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    Section {
        name: String::from_utf8_lossy(name).into_owned(),
        size: header.virtual_size.get(LE),
        characteristics: header.characteristics.get(LE),
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
            imports.push(Import { module: module.clone(), name });
        }
    }
    imports.sort();
    Ok(imports)
}

#[cfg(test)]
mod tests {
    use object::write::pe::{NtHeaders, Writer};

    use super::*;
    use crate::image::{checks::failures, exports::Exports};

    const IMPORT_DESCRIPTORS: u32 = 40;

    /// The bytes of a small image that imports `name` from `module`, with text section flags `text_access`.
    fn image_bytes(subsystem: u16, module: &str, name: &str, text_access: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(true, 0x1000, 0x200, &mut bytes);
        writer.reserve_dos_header();
        writer.reserve_nt_headers(16);
        writer.reserve_section_headers(3);
        let text = writer.reserve_section(*b".text\0\0\0", pe::IMAGE_SCN_MEM_EXECUTE | text_access, 16, 16);
        let import_size = IMPORT_DESCRIPTORS + 64;
        let import = writer.reserve_idata_section(import_size);
        writer.add_reloc(text.virtual_address, pe::IMAGE_REL_BASED_DIR64);
        writer.reserve_reloc_section();

        writer.write_empty_dos_header().unwrap();
        writer.write_nt_headers(NtHeaders {
            machine: pe::IMAGE_FILE_MACHINE_AMD64,
            time_date_stamp: 0,
            characteristics: pe::IMAGE_FILE_EXECUTABLE_IMAGE,
            major_linker_version: 14,
            minor_linker_version: 0,
            address_of_entry_point: text.virtual_address,
            image_base: 0x1_4000_0000,
            major_operating_system_version: 10,
            minor_operating_system_version: 0,
            major_image_version: 0,
            minor_image_version: 0,
            major_subsystem_version: 10,
            minor_subsystem_version: 0,
            subsystem,
            dll_characteristics: pe::IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE | pe::IMAGE_DLLCHARACTERISTICS_NX_COMPAT,
            size_of_stack_reserve: 0,
            size_of_stack_commit: 0,
            size_of_heap_reserve: 0,
            size_of_heap_commit: 0,
        });
        writer.write_section_headers();
        writer.write_section(text.file_offset, &[0xc3; 16]);
        writer.write_section(import.file_offset, &import_section(import.virtual_address, module, name));
        writer.write_reloc_section();
        bytes
    }

    /// One descriptor and the terminator, one thunk and its terminator, the function's name, the module's name.
    fn import_section(address: u32, module: &str, name: &str) -> Vec<u8> {
        let thunks = address + IMPORT_DESCRIPTORS;
        let name_at = thunks + 16;
        let module_at = name_at + 2 + 30;
        let mut bytes: Vec<u8> = [thunks, 0, 0, module_at, thunks].into_iter().flat_map(u32::to_le_bytes).collect();
        bytes.resize(40, 0);
        bytes.extend(u64::from(name_at).to_le_bytes());
        bytes.extend([0; 8 + 2]);
        bytes.extend(name.bytes());
        bytes.resize((module_at - address) as usize, 0);
        bytes.extend(module.bytes());
        bytes.resize(IMPORT_DESCRIPTORS as usize + 64, 0);
        bytes
    }

    fn failed(bytes: &[u8]) -> Vec<&'static str> {
        let image = Image::parse(bytes).unwrap();
        failures(&image, &Exports::read()).iter().map(|failure| failure.check).collect()
    }

    #[test]
    fn an_image_in_bytes_is_read_with_its_import_and_passes() {
        let bytes = image_bytes(pe::IMAGE_SUBSYSTEM_NATIVE, "NETIO.SYS", "WskRegister", pe::IMAGE_SCN_MEM_READ);
        let image = Image::parse(&bytes).unwrap();
        assert_eq!(image.imports, [Import { module: "netio.sys".to_owned(), name: "WskRegister".to_owned() }]);
        assert_eq!(image.sections[0].access(), "r-x-");
        assert!(!image.has_panic_path());
        assert!(failed(&bytes).is_empty());
    }

    #[test]
    fn wrong_images_in_bytes_fail() {
        let native = pe::IMAGE_SUBSYSTEM_NATIVE;
        let (read, write) = (pe::IMAGE_SCN_MEM_READ, pe::IMAGE_SCN_MEM_WRITE);
        let console = image_bytes(pe::IMAGE_SUBSYSTEM_WINDOWS_CUI, "netio.sys", "WskRegister", read);
        assert_eq!(failed(&console), ["subsystem"]);
        assert_eq!(failed(&image_bytes(native, "msvcrt.dll", "malloc", read)), ["no-c-runtime"]);
        assert_eq!(failed(&image_bytes(native, "ntoskrnl.exe", "NotThere", read)), ["windows-export"]);
        assert_eq!(failed(&image_bytes(native, "netio.sys", "WskRegister", read | write)), ["writable-code"]);
        assert!(Image::parse(b"not an image").is_err());
    }
}
