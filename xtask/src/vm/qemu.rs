//! QEMU: found or installed, and told what machine to be.

use std::{
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{arch::Arch, toolchain};

/// What Debian calls it for an architecture, which other systems do too.
pub(crate) fn program(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "qemu-system-x86_64",
        Arch::Arm64 => "qemu-system-aarch64",
    }
}

fn package(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "qemu-system-x86",
        Arch::Arm64 => "qemu-system-arm",
    }
}

/// Kernel parameters: all messages to the first serial port, from the very beginning, and an end
/// instead of a wait when the kernel cannot go on.
fn parameters(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "console=ttyS0 earlyprintk=ttyS0 panic=-1 rdinit=/init",
        Arch::Arm64 => "console=ttyAMA0 earlycon panic=-1 rdinit=/init",
    }
}

/// How the machine's instructions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Accelerator {
    /// By the processor.
    Kvm,
    /// By QEMU.
    Tcg,
    /// By QEMU, on one processor whose clock goes by instructions: each takes a nanosecond.
    Counted,
}

impl Accelerator {
    /// The best that this machine has.
    ///
    /// A KVM on a processor without virtualisation is one inside a VM that stands in for the
    /// hardware, and does not know all of its instructions.
    fn find(arch: Arch) -> Self {
        if arch != Arch::X86_64 {
            return Self::Tcg;
        }
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        // It may be there and not for us.
        let usable = File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok();
        if usable && virtualises(&cpu) {
            Self::Kvm
        } else {
            Self::Tcg
        }
    }
}

impl Accelerator {
    /// QEMU's arguments for it.
    ///
    /// With plain TCG of QEMU 7.2 every third or fourth boot of 6.12 crashed, in two ways. After a
    /// cmpxchg16b the flags held part of a pointer: kernels do without the instruction when the
    /// processor has none. And a CPU hit an `int3` that another one was just replacing: with one
    /// thread for all CPUs, no two of them run at once. With both, 40 boots of 40 came up, no
    /// slower.
    fn arguments(self, arch: Arch, large_pages: bool) -> Vec<&'static str> {
        let cpu = match arch {
            Arch::X86_64 => "max,cx16=off",
            // The other one has pages of 4 and of 64 KiB.
            Arch::Arm64 if large_pages => "neoverse-n1",
            Arch::Arm64 => "cortex-a57",
        };
        let tcg = ["-accel", "tcg,thread=single", "-cpu", cpu];
        match self {
            Self::Kvm => vec!["-accel", "kvm", "-cpu", "max", "-smp", "2"],
            Self::Tcg => [&tcg[..], &["-smp", "2"]].concat(),
            // Without `sleep=off` the clock would wait for the real one whenever the VM is idle.
            Self::Counted => [&tcg[..], &["-smp", "1", "-icount", "shift=0,sleep=off"]].concat(),
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
            Self::Counted => "counted",
        })
    }
}

fn virtualises(cpu: &str) -> bool {
    cpu.lines()
        .filter(|line| line.starts_with("flags"))
        .any(|flags| {
            flags
                .split_whitespace()
                .any(|flag| matches!(flag, "vmx" | "svm"))
        })
}

/// A QEMU that works here.
#[derive(Clone, Debug)]
pub(crate) struct Qemu {
    program: PathBuf,
    pub(crate) arch: Arch,
    pub(crate) accelerator: Accelerator,
}

/// What it boots.
pub(crate) struct Boot<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// Whether that kernel's pages have 16 KiB.
    pub(crate) large_pages: bool,
    /// Where the kernel's messages go.
    pub(crate) log: &'a Path,
    /// More kernel parameters.
    pub(crate) append: &'a str,
    /// Where it listens for somebody who has it stopped, and its memory written down.
    pub(crate) monitor: Option<&'a Path>,
}

impl Qemu {
    /// With `accelerator`, or the best there is.
    pub(crate) fn find(arch: Arch, accelerator: Option<Accelerator>) -> Result<Self> {
        if arch != Arch::X86_64 && accelerator == Some(Accelerator::Kvm) {
            bail!("only an arm64 machine has a KVM for arm64: leave --accel out");
        }
        Ok(Self {
            program: toolchain::find_or_install(program(arch), package(arch))?,
            arch,
            accelerator: accelerator.unwrap_or_else(|| Accelerator::find(arch)),
        })
    }

    /// A machine whose first serial port is a file, and the second its stdin and stdout.
    pub(crate) fn command(&self, boot: &Boot<'_>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none", "-machine"])
            .arg(match self.arch {
                Arch::X86_64 => "pc",
                Arch::Arm64 => "virt,gic-version=2",
            })
            .args(self.accelerator.arguments(self.arch, boot.large_pages))
            .args(["-m", "1024"])
            .arg("-serial")
            .arg(format!("file:{}", boot.log.display()))
            .args(["-chardev", "stdio,id=init,signal=off"])
            .args(match self.arch {
                Arch::X86_64 => ["-serial", "chardev:init"],
                // That machine has one port, so the second is a card.
                Arch::Arm64 => ["-device", "pci-serial,chardev=init"],
            })
            .arg("-kernel")
            .arg(boot.kernel)
            .arg("-initrd")
            .arg(boot.initramfs)
            .args([
                "-append",
                format!("{} {}", parameters(self.arch), boot.append).trim(),
            ]);
        if let Some(monitor) = boot.monitor {
            // Without that device a dump would not say where in it the kernel is.
            command.args(["-device", "vmcoreinfo", "-qmp"]);
            command.arg(format!("unix:{},server=on,wait=off", monitor.display()));
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_processor_that_virtualises_has_a_kvm_worth_using() {
        assert!(virtualises("model name : x\nflags\t\t: fpu vmx sse\n"));
        assert!(virtualises("flags : svm\n"));
        assert!(!virtualises(
            "flags : fpu sse hypervisor\nvmx flags : vnmi\n"
        ));
    }

    #[test]
    fn what_is_counted_has_one_processor_and_a_clock_of_its_own() {
        let counted = Accelerator::Counted.arguments(Arch::X86_64, false);
        let has = |option: &str, value: &str| counted.windows(2).any(|two| two == [option, value]);
        assert!(has("-smp", "1") && has("-icount", "shift=0,sleep=off"));
        assert!(
            !Accelerator::Tcg
                .arguments(Arch::X86_64, false)
                .contains(&"-icount")
        );
    }

    #[test]
    fn the_log_is_the_first_port_and_the_commands_have_the_second() {
        let qemu = Qemu {
            program: "qemu".into(),
            arch: Arch::X86_64,
            accelerator: Accelerator::Tcg,
        };
        let command = qemu.command(&Boot {
            kernel: Path::new("vmlinuz"),
            initramfs: Path::new("cpio"),
            large_pages: false,
            log: Path::new("console.log"),
            append: "lsm=bpf",
            monitor: None,
        });
        let args: Vec<_> = command
            .get_args()
            .map(|arg| arg.to_string_lossy())
            .collect();
        let ports: Vec<_> = args
            .windows(2)
            .filter(|pair| pair[0] == "-serial")
            .map(|pair| pair[1].as_ref())
            .collect();
        assert_eq!(ports, ["file:console.log", "chardev:init"]);
        assert!(args.iter().any(|arg| arg.ends_with("rdinit=/init lsm=bpf")));
    }
}
