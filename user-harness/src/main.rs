//! `wskctl`: drives wskclient.sys from the command line. See `wskctl --help`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    wskctl::run(std::env::args_os()).into()
}
