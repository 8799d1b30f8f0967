//! `InfVerif`'s rules, as far as they apply to a primitive driver with one service, under the numbers of *INF Validation
//! Errors and Warnings*; and the requirements of *Creating a new primitive driver*, which have none.
//!
//! `InfVerif` itself runs on Windows only. This is its stand-in here, not its equal.

use super::{Inf, Line, SERVICE, Section};

/// A rule that the INF does not keep.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    pub rule: &'static str,
    pub found: String,
}

type Rule = (&'static str, fn(&Inf) -> Option<String>);

const RULES: [Rule; 19] = [
    ("1001 signature", signature),
    ("primitive: a complete [Version]", complete_version),
    ("primitive: no [Manufacturer] (1212, 1297)", no_manufacturer),
    ("primitive: decorated install sections", decorated),
    ("primitive: LegacyUninstall in an uninstall section", legacy_uninstall),
    ("1203 section not found", sections_found),
    ("1204 provider", provider),
    ("1205 section shared by directives", sections_shared),
    ("1230 file without a source", sources),
    ("1233 catalogue", catalogue),
    ("1235 string token", tokens),
    ("1296 service of each architecture", services),
    ("1300 legacy directive", directives),
    ("1304, 1323 registry outside the service's Parameters", registry),
    ("1322 destination outside the driver store", destinations),
    ("1100 renamed or moved in the driver store", same_place),
    ("1324 PnpLockdown", lockdown),
    ("2083 section not used", sections_used),
    ("service: a kernel driver started on demand", service),
];

/// The rules that `inf` breaks.
pub fn broken(inf: &Inf) -> Vec<Broken> {
    RULES.iter().filter_map(|(rule, check)| check(inf).map(|found| Broken { rule, found })).collect()
}

/// Where the first section that `wanted` accepts is not as `holds` says.
fn first(inf: &Inf, mut wrong: impl FnMut(&Section) -> Option<String>) -> Option<String> {
    inf.sections().iter().find_map(|section| wrong(section).map(|found| format!("[{}]: {found}", section.name)))
}

fn is_install(section: &Section) -> bool {
    section.name.to_ascii_lowercase().starts_with("defaultinstall")
}

fn is_uninstall(section: &Section) -> bool {
    section.name.to_ascii_lowercase().starts_with("defaultuninstall")
}

fn is_services(section: &Section) -> bool {
    section.name.to_ascii_lowercase().ends_with(".services")
}

fn key(line: &Line) -> String {
    line.key.as_deref().unwrap_or_default().to_ascii_lowercase()
}

/// The sections that a line names, by its directive.
fn named_sections(line: &Line) -> Vec<&str> {
    match key(line).as_str() {
        "copyfiles" | "delfiles" | "addreg" | "delreg" => {
            line.values.iter().map(String::as_str).filter(|name| !name.starts_with('@')).collect()
        }
        "addservice" => line.values.iter().skip(2).map(String::as_str).filter(|name| !name.is_empty()).collect(),
        _ => Vec::new(),
    }
}

fn signature(inf: &Inf) -> Option<String> {
    let value = inf.value("Version", "Signature").unwrap_or_default();
    (!value.eq_ignore_ascii_case("$WINDOWS NT$")).then_some(value)
}

fn complete_version(inf: &Inf) -> Option<String> {
    let missing = |key: &&str| inf.value("Version", key).is_none_or(|value| value.is_empty() && *key != "DriverVer");
    ["Provider", "Class", "ClassGuid", "DriverVer"].into_iter().find(missing).map(|key| format!("no {key}"))
}

fn no_manufacturer(inf: &Inf) -> Option<String> {
    inf.section("Manufacturer").map(|section| section.name.clone())
}

fn decorated(inf: &Inf) -> Option<String> {
    first(inf, |section| {
        let rest = section.name.split('.').nth(1).unwrap_or_default();
        let architecture = ["NTamd64", "NTarm64"].iter().any(|name| rest.eq_ignore_ascii_case(name));
        ((is_install(section) || is_uninstall(section)) && !architecture).then(|| "not of an architecture".to_owned())
    })
}

fn legacy_uninstall(inf: &Inf) -> Option<String> {
    first(inf, |section| {
        let legacy = section.with_key("LegacyUninstall").any(|line| line.values == ["1"]);
        (is_uninstall(section) && !is_services(section) && !legacy).then(|| "no LegacyUninstall = 1".to_owned())
    })
}

fn sections_found(inf: &Inf) -> Option<String> {
    first(inf, |section| {
        let names = section.lines.iter().flat_map(named_sections);
        names.into_iter().find(|name| inf.section(name).is_none()).map(str::to_owned)
    })
}

fn provider(inf: &Inf) -> Option<String> {
    inf.value("Version", "Provider").filter(|value| value.to_ascii_lowercase().contains("microsoft"))
}

/// One list may be copied and deleted; it may not be files for one directive and a service for another.
fn sections_shared(inf: &Inf) -> Option<String> {
    let mut uses = Vec::new();
    for line in inf.sections().iter().flat_map(|section| &section.lines) {
        let kind = if key(line).ends_with("files") { "files".to_owned() } else { key(line) };
        uses.extend(named_sections(line).into_iter().map(|name| (name.to_ascii_lowercase(), kind.clone())));
    }
    let shared = uses.iter().find(|(name, kind)| uses.iter().any(|(other, use_)| other == name && use_ != kind));
    shared.map(|(name, _)| name.clone())
}

/// The files of every copied list.
fn copied(inf: &Inf) -> Vec<&Line> {
    let lines = inf.sections().iter().flat_map(|section| section.with_key("CopyFiles"));
    lines.flat_map(named_sections).filter_map(|name| inf.section(name)).flat_map(|list| &list.lines).collect()
}

fn sources(inf: &Inf) -> Option<String> {
    let (files, disks) = (inf.section("SourceDisksFiles"), inf.section("SourceDisksNames"));
    let has =
        |section: Option<&Section>, key: &str| section.is_some_and(|section| section.with_key(key).next().is_some());
    copied(inf).into_iter().filter_map(|line| line.values.first()).find_map(|file| {
        let disk = inf.value("SourceDisksFiles", file).unwrap_or_default();
        (!has(files, file) || !has(disks, &disk)).then(|| file.clone())
    })
}

fn catalogue(inf: &Inf) -> Option<String> {
    let value = inf.value("Version", "CatalogFile").unwrap_or_default();
    let is_catalogue = value.len() > 4 && value.to_ascii_lowercase().ends_with(".cat");
    (!is_catalogue).then(|| format!("CatalogFile = {value}"))
}

/// Numbers between percent signs are directory ids.
fn tokens(inf: &Inf) -> Option<String> {
    first(inf, |section| {
        let values = section.lines.iter().flat_map(|line| &line.values);
        let mut tokens = values.flat_map(|value| value.split('%').skip(1).step_by(2));
        tokens.find(|token| token.parse::<u32>().is_err() && inf.string(token).is_none()).map(str::to_owned)
    })
}

fn services(inf: &Inf) -> Option<String> {
    first(inf, |section| {
        let wanted = format!("{}.Services", section.name);
        let lacks = (is_install(section) || is_uninstall(section)) && !is_services(section);
        (lacks && inf.section(&wanted).is_none()).then(|| format!("no [{wanted}]"))
    })
}

/// What an install section of a state-separated package may say, and what an uninstall section must.
fn directives(inf: &Inf) -> Option<String> {
    first(inf, |section| {
        let allowed: &[&str] = match (is_install(section), is_uninstall(section), is_services(section)) {
            (true, _, false) => &["copyfiles"],
            (true, _, true) => &["addservice"],
            (_, true, false) => &["legacyuninstall", "delfiles"],
            (_, true, true) => &["delservice"],
            _ => return None,
        };
        section.lines.iter().map(key).find(|key| !allowed.contains(&key.as_str()))
    })
}

fn registry(inf: &Inf) -> Option<String> {
    let lines = inf.sections().iter().flat_map(|section| section.with_key("AddReg"));
    let lists = lines.flat_map(named_sections).filter_map(|name| inf.section(name));
    let mut values = lists.flat_map(|list| &list.lines).map(|line| line.values.join(","));
    values.find(|value| !value.to_ascii_lowercase().starts_with("hkr,parameters"))
}

fn destinations(inf: &Inf) -> Option<String> {
    let Some(section) = inf.section("DestinationDirs") else {
        return Some("no [DestinationDirs]".to_owned());
    };
    let wrong = section.lines.iter().find(|line| line.values.first().is_none_or(|id| id != "13"));
    wrong.map(|line| format!("{} = {}", key(line), line.values.join(",")))
}

/// The store keeps the package's folders: no list renames, and no folder is named on either side.
fn same_place(inf: &Inf) -> Option<String> {
    let moved = ["DestinationDirs", "SourceDisksFiles"].into_iter().filter_map(|name| inf.section(name));
    let moved = moved.flat_map(|section| &section.lines).find(|line| line.values.len() > 1);
    let renamed = copied(inf).into_iter().find(|line| line.values.len() > 1);
    moved.or(renamed).map(|line| line.values.join(","))
}

fn lockdown(inf: &Inf) -> Option<String> {
    let value = inf.value("Version", "PnpLockdown").unwrap_or_default();
    (value != "1").then(|| format!("PnpLockdown = {value}"))
}

fn sections_used(inf: &Inf) -> Option<String> {
    const ROOTS: [&str; 5] = ["version", "sourcedisksnames", "sourcedisksfiles", "destinationdirs", "strings"];
    first(inf, |section| {
        let mut lines = inf.sections().iter().flat_map(|section| &section.lines);
        let is_root = ROOTS.contains(&section.name.to_ascii_lowercase().as_str());
        let is_named =
            lines.any(|line| named_sections(line).iter().any(|name| name.eq_ignore_ascii_case(&section.name)));
        (!is_root && !is_install(section) && !is_uninstall(section) && !is_named).then(|| "nothing names it".to_owned())
    })
}

fn service(inf: &Inf) -> Option<String> {
    let added = inf.sections().iter().flat_map(|section| section.with_key("AddService"));
    for line in added {
        // A flag would tie the service to a device, or start it unasked.
        let [name, flags, section] = line.values.as_slice() else {
            return Some(line.values.join(","));
        };
        let value = |key| inf.value(section, key).unwrap_or_default();
        let binary = value("ServiceBinary");
        let fields = [value("ServiceType"), value("StartType"), value("ErrorControl")];
        if name != SERVICE || !flags.is_empty() || fields != ["1", "3", "1"] || binary != r"%13%\wskclient.sys" {
            return Some(format!("{name} {flags} {fields:?} {binary}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const INX: &str = include_str!("../../../../inf/wskclient.inx");

    /// The rules that the INF breaks with `present` replaced by `instead`.
    fn broken_by(present: &str, instead: &str) -> Vec<&'static str> {
        assert!(INX.contains(present), "{present}");
        let inf = Inf::parse(&INX.replace(present, instead)).unwrap();
        broken(&inf).into_iter().map(|broken| broken.rule).collect()
    }

    fn assert_caught(rule: &str, present: &str, instead: &str) {
        let broken = broken_by(present, instead);
        assert!(broken.iter().any(|broken| broken.starts_with(rule)), "{rule} not in {broken:?}");
    }

    #[test]
    fn the_inf_keeps_every_rule() {
        assert_eq!(broken(&Inf::parse(INX).unwrap()), []);
    }

    #[test]
    fn infverif_1001_the_signature_is_windows_nts() {
        assert_caught("1001", "$WINDOWS NT$", "$CHICAGO$");
    }

    #[test]
    fn primitive_drivers_have_a_complete_version_section() {
        assert_caught("primitive: a complete", "Class       = System", "");
        assert_caught("primitive: a complete", "Provider    = %Provider%", "Provider =");
    }

    #[test]
    fn infverif_1212_and_1297_primitive_drivers_have_no_manufacturer_section() {
        assert_caught("primitive: no [Man", "[Strings]", "[Manufacturer]\n%Provider% = Models\n[Strings]");
    }

    #[test]
    fn primitive_drivers_install_sections_are_decorated_by_architecture() {
        assert_caught("primitive: decorated", "[DefaultInstall.NTamd64]", "[DefaultInstall]");
        assert_caught("primitive: decorated", "[DefaultUninstall.NTarm64]", "[DefaultUninstall]");
    }

    #[test]
    fn primitive_drivers_uninstall_sections_are_for_systems_that_lack_primitive_drivers() {
        assert_caught("primitive: Legacy", "LegacyUninstall = 1", "");
    }

    #[test]
    fn infverif_1203_every_section_named_is_there() {
        assert_caught("1203", "CopyFiles = WskClient.Files", "CopyFiles = wskclient.sys");
    }

    #[test]
    fn infverif_1204_the_provider_is_not_microsoft() {
        assert_caught("1204", "\"wskclient\"", "\"Microsoft Corporation\"");
    }

    #[test]
    fn infverif_1205_no_section_serves_two_purposes() {
        assert_caught("1205", "WskClient,, WskClient.Service", "WskClient,, WskClient.Files");
    }

    #[test]
    fn infverif_1230_every_file_has_a_source() {
        assert_caught("1230", "wskclient.sys = 1", "other.sys = 1");
        assert_caught("1230", "wskclient.sys = 1", "wskclient.sys = 2");
    }

    #[test]
    fn infverif_1233_there_is_a_catalogue_to_sign() {
        assert_caught("1233", "CatalogFile = wskclient.cat", "");
    }

    #[test]
    fn infverif_1235_every_string_token_is_defined() {
        assert_caught("1235", "Disk               =", "Disc =");
    }

    #[test]
    fn infverif_1296_every_architecture_has_its_service() {
        assert_caught("1296", "[DefaultInstall.NTarm64.Services]", "[DefaultInstall.NTamd64.Services]");
    }

    #[test]
    fn infverif_1300_to_1302_nothing_legacy_is_asked_for() {
        assert_caught("1300", "CopyFiles = WskClient.Files", "CopyFiles = WskClient.Files\nDelReg = WskClient.Files");
        assert_caught("1300", "CopyFiles = WskClient.Files", "CopyFiles = WskClient.Files\nCopyINF = a.inf");
    }

    #[test]
    fn infverif_1304_and_1323_registry_values_are_under_the_services_parameters() {
        let global = "[Values]\nHKLM,SOFTWARE\\Wsk,A,,1\n[WskClient.Service]\nAddReg = Values";
        assert_caught("1304", "[WskClient.Service]", global);
        let relative = "[Values]\nHKR,Parameters,A,0x00010001,1\n[WskClient.Service]\nAddReg = Values";
        assert_eq!(broken_by("[WskClient.Service]", relative), [""; 0]);
    }

    #[test]
    fn the_parameters_have_the_drivers_defaults_as_numbers() {
        const REG_DWORD: &str = "0x00010001";
        let inf = Inf::parse(INX).unwrap();
        let values: Vec<_> =
            inf.section("WskClient.Parameters").unwrap().lines.iter().map(|line| &line.values).collect();
        let wanted = [
            ("LingerDeadline", wskclient_abi::Close::DEFAULT_LINGER.to_string()),
            ("MaxSockets", "16384".to_owned()),
            ("MaxPendingRequests", "262144".to_owned()),
            ("MaxLockedBytes", "1073741824".to_owned()),
        ];
        assert_eq!(values.len(), wanted.len());
        for (line, (name, value)) in values.into_iter().zip(wanted) {
            assert_eq!(*line, ["HKR", "Parameters", name, REG_DWORD, &value].map(str::to_owned));
        }
    }

    #[test]
    fn infverif_1322_files_stay_in_the_driver_store() {
        assert_caught("1322", "WskClient.Files = 13", "WskClient.Files = 12");
        assert_caught("1322", "DefaultDestDir  = 13", "DefaultDestDir = 11");
    }

    #[test]
    fn infverif_1100_files_keep_their_place_and_name_in_the_driver_store() {
        assert_caught("1100", "WskClient.Files = 13", "WskClient.Files = 13,Folder");
        assert_caught("1100", "wskclient.sys\n\n", "other.sys,wskclient.sys\n\n");
    }

    #[test]
    fn infverif_1324_pnp_locks_the_files_down() {
        assert_caught("1324", "PnpLockdown = 1", "PnpLockdown = 0");
    }

    #[test]
    fn infverif_2083_every_section_is_used() {
        assert_caught("2083", "[Strings]", "[Forgotten]\na = 1\n[Strings]");
    }

    #[test]
    fn the_service_starts_on_demand_and_belongs_to_no_device() {
        assert_caught("service", "StartType     = 3", "StartType = 1");
        assert_caught("service", "WskClient,, WskClient.Service", "WskClient, 2, WskClient.Service");
    }
}
