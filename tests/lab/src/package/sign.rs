//! A test certificate for one package, and signatures with it, by `openssl` and `osslsigncode`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    command::output_of,
    setup::{files, packages},
};

/// Windows shows this name; the scripts remove certificates by it.
pub const SUBJECT: &str = "wskclient test certificate";
const DAYS: &str = "365";

/// The programs that make certificates and signatures.
pub struct Tools {
    openssl: PathBuf,
    osslsigncode: PathBuf,
}

impl Tools {
    pub fn find_or_install() -> Result<Self> {
        packages::find_or_install_these(&["openssl", "osslsigncode"], || {
            Ok(Self { openssl: packages::program("openssl")?, osslsigncode: packages::program("osslsigncode")? })
        })
    }
}

/// A self-signed certificate whose key is deleted when this is dropped.
pub struct Certificate<'a> {
    tools: &'a Tools,
    folder: PathBuf,
}

impl<'a> Certificate<'a> {
    /// Makes a fresh key and certificate in `folder`.
    pub fn new(tools: &'a Tools, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let certificate = Self { tools, folder: folder.to_owned() };
        output_of(
            Command::new(&tools.openssl)
                .args(["req", "-x509", "-newkey", "rsa:3072", "-sha256", "-nodes", "-days", DAYS])
                .args(["-subj", &format!("/CN={SUBJECT}"), "-addext", "keyUsage=critical,digitalSignature"])
                .args(["-addext", "extendedKeyUsage=codeSigning", "-keyout"])
                .arg(certificate.key())
                .arg("-out")
                .arg(certificate.pem()),
        )?;
        Ok(certificate)
    }

    fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    fn pem(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    /// Writes the certificate as Windows imports it: DER.
    pub fn publish(&self, path: &Path) -> Result<()> {
        let mut openssl = Command::new(&self.tools.openssl);
        openssl.args(["x509", "-outform", "DER", "-in"]).arg(self.pem()).arg("-out").arg(path);
        output_of(&mut openssl)?;
        Ok(())
    }

    /// Writes a signed copy of `image`.
    pub fn sign(&self, image: &[u8], signed: &Path) -> Result<()> {
        let unsigned = self.folder.join("unsigned.sys");
        files::write(&unsigned, image)?;
        // osslsigncode writes over nothing.
        if signed.exists() {
            fs::remove_file(signed).with_context(|| format!("cannot remove {}", signed.display()))?;
        }
        let mut osslsigncode = Command::new(&self.tools.osslsigncode);
        osslsigncode.args(["sign", "-h", "sha256", "-n", "wskclient.sys", "-certs"]).arg(self.pem());
        output_of(osslsigncode.arg("-key").arg(self.key()).arg("-in").arg(unsigned).arg("-out").arg(signed))?;
        Ok(())
    }

    /// Whether `image` verifies with this certificate; and that a copy with one byte changed does not, so that the
    /// answer means something.
    pub fn verifies(&self, image: &Path) -> Result<bool> {
        if !self.accepts(image)? {
            return Ok(false);
        }
        let mut bytes = fs::read(image)?;
        let middle = bytes.len() / 2;
        *bytes.get_mut(middle).context("an image has bytes")? ^= 1;
        let spoilt = self.folder.join("spoilt.sys");
        files::write(&spoilt, bytes)?;
        ensure!(!self.accepts(&spoilt)?, "osslsigncode accepts a changed image: its answers mean nothing");
        Ok(true)
    }

    fn accepts(&self, image: &Path) -> Result<bool> {
        let mut osslsigncode = Command::new(&self.tools.osslsigncode);
        osslsigncode.arg("verify").arg("-CAfile").arg(self.pem()).arg("-in").arg(image);
        let output = osslsigncode.output().context("cannot run osslsigncode")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() && !checksum_is_right(&text) {
            bail!("{} has a wrong PE checksum, and Windows loads no such driver", image.display());
        }
        Ok(output.status.success())
    }
}

/// From what `osslsigncode verify` prints: one checksum, or the one that is there and the one that should be.
fn checksum_is_right(text: &str) -> bool {
    text.contains("PE checksum") && !text.contains("MISMATCH")
}

impl Drop for Certificate<'_> {
    fn drop(&mut self) {
        // The package is signed or has failed: nobody needs the key again, and nobody else may have it.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_right_when_there_is_one_and_it_is_the_calculated_one() {
        assert!(checksum_is_right("PE checksum   : 0001096B\n"));
        assert!(!checksum_is_right("Current PE checksum   : 0\nCalculated PE checksum: 0001F0C3     MISMATCH!!!\n"));
        assert!(!checksum_is_right(""));
    }
}
