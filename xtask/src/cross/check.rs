use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Architecture, Endianness, Object, elf};

/// Fails unless `program` runs on an ARM64 Linux that has nothing else on it.
pub(crate) fn is_static_arm64(program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    match fault(&bytes) {
        Ok(None) => Ok(()),
        Ok(Some(fault)) => bail!("{} {fault}", program.display()),
        Err(error) => {
            Err(error).with_context(|| format!("{} is no ELF program", program.display()))
        }
    }
}

fn fault(bytes: &[u8]) -> object::Result<Option<String>> {
    let file = ElfFile64::<Endianness>::parse(bytes)?;
    if file.architecture() != Architecture::Aarch64 {
        return Ok(Some(format!("is for {:?}, not ARM64", file.architecture())));
    }
    let endian = file.endian();
    let headers = file.elf_header().program_headers(endian, bytes)?;
    let needs_loader = headers
        .iter()
        .any(|header| header.p_type(endian) == elf::PT_INTERP);
    Ok(needs_loader.then(|| "is linked dynamically, not statically".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_test_is_neither() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(fault(&own).unwrap().is_some());
        assert!(fault(b"#!/bin/sh\n").is_err());
    }
}
