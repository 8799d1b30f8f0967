//! The PowerShell under `tests/windows`, judged on its syntax tree, as no PowerShell is to be had here.
//!
//! What is checked: that every file parses, the rules of `PSScriptAnalyzer` that a tree can answer (each by its name), that commands and
//! parameters are ones that there are, and that a script checks before it changes anything. What is not: types, and whether a cmdlet
//! does what its documentation says.

use std::{collections::BTreeSet, fs, path::PathBuf};

use tree_sitter::{Node, Parser, Tree};

/// Commands of Windows PowerShell 5.1 that the scripts use. One more is to be looked up first: is it there, and what does it take?
const CMDLETS: &[&str] = &[
    "Add-Content",
    "ConvertFrom-Json",
    "ConvertTo-Json",
    "Copy-Item",
    "Export-Certificate",
    "Export-ModuleMember",
    "ForEach-Object",
    "Get-AuthenticodeSignature",
    "Get-ChildItem",
    "Get-CimInstance",
    "Get-Command",
    "Get-Content",
    "Get-Date",
    "Get-FileHash",
    "Get-Item",
    "Get-ItemProperty",
    "Get-Process",
    "Get-WinEvent",
    "Get-WindowsDriver",
    "Group-Object",
    "Import-Certificate",
    "Import-Module",
    "Join-Path",
    "New-FileCatalog",
    "New-Item",
    "New-Object",
    "New-SelfSignedCertificate",
    "Out-Null",
    "Out-String",
    "Remove-Item",
    "Restart-Computer",
    "Select-Object",
    "Set-AuthenticodeSignature",
    "Set-Content",
    "Set-StrictMode",
    "Sort-Object",
    "Split-Path",
    "Start-Sleep",
    "Test-Path",
    "Where-Object",
    "Write-Output",
    "Write-Progress",
    "Write-Warning",
];
/// What changes the machine: cmdlets, functions of the module, and programs by way of those.
const CHANGING: &[&str] = &[
    "Add-Content",
    "Clear-VmState",
    "Copy-Item",
    "Import-Certificate",
    "Invoke-VmProgram",
    "Invoke-VmUnload",
    "New-FileCatalog",
    "New-Item",
    "New-SelfSignedCertificate",
    "Remove-Item",
    "Request-VmRestart",
    "Restart-Computer",
    "Save-VmState",
    "Set-AuthenticodeSignature",
    "Set-Content",
];
/// Of the verbs that `Get-Verb` lists, those with which a function need not ask (`PSUseShouldProcessForStateChangingFunctions`).
const VERBS: &[&str] = &["Assert", "Clear", "ConvertTo", "Get", "Invoke", "Request", "Save", "Test"];
/// Every function with `CmdletBinding` takes these.
const COMMON_PARAMETERS: &[&str] = &["ErrorAction", "Verbose", "WhatIf", "Confirm"];

struct Script {
    name: String,
    text: String,
    tree: Tree,
}

impl Script {
    fn parse(name: &str, text: &str) -> Self {
        let mut parser = Parser::new();
        parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).expect("the grammar is one of this parser's");
        let tree = parser.parse(text, None).expect("the parser has a language");
        Self { name: name.to_owned(), text: text.to_owned(), tree }
    }

    fn text(&self, node: Node<'_>) -> &str {
        &self.text[node.byte_range()]
    }

    /// The nodes of a kind, in order.
    fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = Node<'a>> {
        below(self.tree.root_node()).into_iter().filter(move |node| node.kind() == kind)
    }

    /// The commands that are run by their names.
    fn commands(&self) -> impl Iterator<Item = (&str, Node<'_>)> {
        self.all("command_name").map(|node| (self.text(node), node.parent().expect("a command has a name")))
    }

    /// The parameters that a command names.
    fn parameters<'a>(&'a self, command: Node<'a>) -> Vec<&'a str> {
        let elements = children(command).into_iter().filter(|child| child.kind() == "command_elements");
        let named = elements.flat_map(children).filter(|child| child.kind() == "command_parameter");
        named.map(|node| self.text(node).trim_start_matches('-').trim_end_matches(':')).collect()
    }

    /// Each function with the names of its parameters.
    fn functions(&self) -> Vec<(&str, Node<'_>, Vec<&str>)> {
        let function = |node| {
            let name = children(node).into_iter().find(|child| child.kind() == "function_name").expect("a name");
            (self.text(name), node, self.declared(node))
        };
        self.all("function_statement").map(function).collect()
    }

    /// The parameters that the function, or the script, declares itself.
    fn declared<'a>(&'a self, node: Node<'a>) -> Vec<&'a str> {
        let block = below(node).into_iter().find(|child| child.kind() == "parameter_list");
        let parameters = block.into_iter().flat_map(children).filter(|child| child.kind() == "script_parameter");
        parameters
            .filter_map(|parameter| children(parameter).into_iter().find(|child| child.kind() == "variable"))
            .map(|variable| self.text(variable).trim_start_matches('$'))
            .collect()
    }

    /// Where something is, for a person.
    fn at(&self, node: Node<'_>) -> String {
        let place = node.start_position();
        let line = self.text(node).lines().next().unwrap_or_default();
        format!("{}:{}: {line}", self.name, place.row + 1)
    }
}

fn children(node: Node<'_>) -> Vec<Node<'_>> {
    node.children(&mut node.walk()).collect()
}

/// The node and all below it, in order.
fn below(node: Node<'_>) -> Vec<Node<'_>> {
    let mut all = vec![node];
    all.extend(children(node).into_iter().flat_map(below));
    all
}

fn scripts() -> Vec<Script> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../windows");
    let mut paths: Vec<_> =
        folder.read_dir().expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a script");
        Script::parse(&path.file_name().expect("a name").to_string_lossy(), &text)
    };
    paths.iter().map(read).collect()
}

/// Names, as PowerShell compares them.
fn is_among(names: &[&str], name: &str) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

/// What breaks a rule, one line each.
type Complaints = Vec<String>;

fn syntax(script: &Script) -> Complaints {
    let wrong = below(script.tree.root_node()).into_iter().filter(|node| node.is_error() || node.is_missing());
    wrong.map(|node| script.at(node)).collect()
}

/// `PSAvoidUsingCmdletAliases`, and commands that nobody has: neither a cmdlet, nor a function of ours, nor a program.
fn commands(script: &Script, functions: &[&str]) -> Complaints {
    let is_program = |name: &str| name.rsplit_once('.').is_some_and(|(_, kind)| kind == "exe");
    let known = |name: &str| is_among(CMDLETS, name) || is_among(functions, name) || is_program(name);
    script.commands().filter(|(name, _)| !known(name)).map(|(_, node)| script.at(node)).collect()
}

/// Our functions are called with parameters that they have.
fn parameters(script: &Script, all: &[(&str, Vec<&str>)]) -> Complaints {
    let wrong = |(name, node): (&str, Node<'_>)| {
        let (_, declared) = all.iter().find(|(function, _)| function.eq_ignore_ascii_case(name))?;
        let takes = |parameter: &str| is_among(declared, parameter) || is_among(COMMON_PARAMETERS, parameter);
        let unknown = script.parameters(node).into_iter().find(|parameter| !takes(parameter))?;
        Some(format!("{}: no parameter {unknown}", script.at(node)))
    };
    script.commands().filter_map(wrong).collect()
}

/// `PSUseApprovedVerbs`, `PSUseShouldProcessForStateChangingFunctions`, `PSUseSingularNouns`.
fn names(script: &Script) -> Complaints {
    let wrong = |name: &str| match name.split_once('-') {
        Some((verb, noun)) => !VERBS.contains(&verb) || noun.ends_with('s'),
        None => true,
    };
    script.functions().into_iter().filter(|(name, ..)| wrong(name)).map(|(_, node, _)| script.at(node)).collect()
}

/// `PSReviewUnusedParameter`.
fn unused(script: &Script) -> Complaints {
    let mut owners: Vec<_> = script.functions().into_iter().map(|(_, node, declared)| (node, declared)).collect();
    let root = script.tree.root_node();
    if children(root).iter().any(|child| child.kind() == "param_block") {
        owners.push((root, script.declared(root)));
    }
    let unused = |(node, declared): (Node<'_>, Vec<&str>)| {
        let variables =
            below(node).into_iter().filter(|node| node.kind() == "variable" || node.kind() == "braced_variable");
        let used: Vec<_> = variables.map(|node| script.text(node).trim_start_matches(['$', '@'])).collect();
        let times = |name: &str| used.iter().filter(|one| one.eq_ignore_ascii_case(name)).count();
        let unused = declared.into_iter().find(|name| times(name) < 2)?;
        Some(format!("{}: {unused} is not used", script.at(node)))
    };
    owners.into_iter().filter_map(unused).collect()
}

/// `PSShouldProcess`: who says that it asks does, and the other way round.
fn asking(script: &Script) -> Complaints {
    let says = script.text.contains("SupportsShouldProcess");
    let asks = script.text.contains("$PSCmdlet.ShouldProcess(");
    if says == asks { Vec::new() } else { vec![format!("{}: says {says}, asks {asks}", script.name)] }
}

/// `PSAvoidUsingEmptyCatchBlock`, `PSPossibleIncorrectComparisonWithNull`, `PSAvoidGlobalVars`, `PSAvoidTrailingWhitespace`.
fn habits(script: &Script) -> Complaints {
    let empty =
        script.all("catch_clause").filter(|node| !below(*node).iter().any(|node| node.kind() == "statement_list"));
    let null = script.all("comparison_expression").filter(|node| {
        let parts = children(*node);
        parts.len() == 3
            && parts[1].kind() == "comparison_operator"
            && script.text(parts[2]).eq_ignore_ascii_case("$null")
    });
    let global = script.all("variable").filter(|node| script.text(*node).to_ascii_lowercase().starts_with("$global:"));
    let mut complaints: Complaints = empty.chain(null).chain(global).map(|node| script.at(node)).collect();
    let blanks = script.text.lines().filter(|line| line.ends_with([' ', '\t']));
    complaints.extend(blanks.map(|line| format!("{}: trailing white space: {line}", script.name)));
    complaints
}

/// A script that asks (`ShouldProcess`) has called `Assert-Vm` before, and changes nothing before it has asked. Checks of its own may
/// stand in between.
fn order(script: &Script) -> Complaints {
    let outside = |node: Node<'_>| {
        let mut above = std::iter::successors(node.parent(), Node::parent);
        !above.any(|node| node.kind() == "function_statement")
    };
    let first = |names: &[&str]| {
        let mut commands = script.commands().filter(|(name, node)| is_among(names, name) && outside(*node));
        commands.next().map(|(_, node)| node)
    };
    let Some(asks) = script.text.find("$PSCmdlet.ShouldProcess(") else { return Vec::new() };
    let mut complaints = Vec::new();
    if first(&["Assert-Vm"]).is_none_or(|node| node.start_byte() > asks) {
        complaints.push(format!("{}: it asks before it has checked", script.name));
    }
    if let Some(node) = first(CHANGING).filter(|node| node.start_byte() < asks) {
        complaints.push(format!("{}: before it has asked", script.at(node)));
    }
    complaints
}

/// Windows PowerShell 5.1 goes on after an error unless told not to, a module whatever the script says.
fn stops_at_errors(script: &Script) -> Complaints {
    let line = script.text.lines().any(|line| line == "$ErrorActionPreference = 'Stop'");
    if line { Vec::new() } else { vec![script.name.clone()] }
}

/// A value that leaves an `if` loses one level of array: `, 'a'` comes out as `'a'`, and `+` then joins texts.
fn arrays_out_of_statements(script: &Script) -> Complaints {
    let lone = script.all("expression_with_unary_operator").filter(|node| script.text(*node).starts_with(','));
    lone.map(|node| script.at(node)).collect()
}

/// Every rule on every script.
fn complaints(scripts: &[Script]) -> Complaints {
    let functions: Vec<_> = scripts
        .iter()
        .flat_map(|script| script.functions().into_iter().map(|(name, _, declared)| (name, declared)))
        .collect();
    let function_names: Vec<_> = functions.iter().map(|(name, _)| *name).collect();
    let rules = [syntax, names, unused, asking, habits, order, stops_at_errors, arrays_out_of_statements];
    let mut all: Complaints =
        scripts.iter().flat_map(|script| rules.iter().flat_map(move |rule| rule(script))).collect();
    all.extend(scripts.iter().flat_map(|script| commands(script, &function_names)));
    all.extend(scripts.iter().flat_map(|script| parameters(script, &functions)));
    all
}

#[test]
fn the_scripts_parse_and_keep_the_rules() {
    let complaints = complaints(&scripts());
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_function_of_the_module_is_used() {
    let scripts = scripts();
    let used: BTreeSet<_> =
        scripts.iter().flat_map(|script| script.commands().map(|(name, _)| name.to_ascii_lowercase())).collect();
    for (name, ..) in scripts.iter().flat_map(Script::functions) {
        assert!(used.contains(&name.to_ascii_lowercase()), "{name}");
    }
}

/// A script that keeps every rule; the tests break it.
const GOOD: &str = "[CmdletBinding(SupportsShouldProcess)]\nparam([string] $Place)\n\n$ErrorActionPreference = 'Stop'\n\
                    Assert-Vm -Package\nif (-not $PSCmdlet.ShouldProcess($Place, 'x')) { return }\n\
                    if ($null -ne $Place) { Remove-Item -Path $Place }\nsc.exe stop X\n\
                    function Assert-Vm {\n[CmdletBinding()]\nparam([switch] $Package)\nif ($Package) { Get-Date }\n}\n";

fn broken(present: &str, instead: &str) -> String {
    assert!(GOOD.contains(present), "{present}");
    complaints(&[Script::parse("a.ps1", &GOOD.replace(present, instead))]).join("\n")
}

#[test]
fn each_rule_catches_what_breaks_it() {
    assert_eq!(broken("", ""), "");
    assert!(broken("{ return }", "{ return").contains("a.ps1:"), "a syntax error");
    assert!(broken("Get-Date", "$Package ?? 1").contains("a.ps1:"), "what Windows PowerShell does not know");
    assert!(broken("Remove-Item", "rm").contains("rm -Path"), "an alias");
    assert!(broken("Remove-Item", "Remove-Itm").contains("Remove-Itm"), "no such command");
    assert!(broken("-Package\nif", "-Pakage\nif").contains("no parameter Pakage"));
    assert!(broken("sc.exe stop X", "function Start-Vm { Get-Date }").contains("Start-Vm"), "a verb that must ask");
    assert!(broken("sc.exe stop X", "function Frob-Vm { Get-Date }").contains("Frob-Vm"), "a verb that nobody knows");
    assert!(broken("if ($Package) { Get-Date }", "Get-Date").contains("Package is not used"));
    assert!(broken("SupportsShouldProcess", "").contains("says false, asks true"));
    assert!(broken("sc.exe stop X", "try { Get-Date } catch { }").contains("catch { }"), "an empty catch");
    assert!(broken("$null -ne $Place", "$Place -ne $null").contains("$Place -ne $null"), "null on the right");
    assert!(broken("Get-Date", "$global:A").contains("$global:A"));
    assert!(
        broken("Assert-Vm -Package\n", "Remove-Item -Path a\nAssert-Vm -Package\n").contains("before it has asked")
    );
    assert!(broken("Assert-Vm -Package\n", "").contains("before it has checked"));
    assert!(broken("$ErrorActionPreference = 'Stop'", "").contains("a.ps1"), "it goes on after errors");
    assert!(broken("sc.exe stop X", "$a = if ($Place) { , 'b' } else { 'c' }").contains(", 'b'"));
}
