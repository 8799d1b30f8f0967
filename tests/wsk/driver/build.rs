//! Linker arguments and driver-model settings come from `wdk-build`; WSK's import library is added by hand, because
//! `wdk-sys` does not know it.

fn main() -> Result<(), wdk_build::ConfigError> {
    println!("cargo::rustc-link-lib=netio");
    wdk_build::configure_wdk_binary_build()
}
