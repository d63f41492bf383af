//! Huge pages for runs of many nodes, which are bound by memory and by misses of the page table's cache.
//!
//! glibc's allocator uses them if a variable says so before `main`: the program sets it and executes itself again. With
//! another allocator, or where the user has set the variable, nothing happens.

/// Where glibc reads its settings.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const VARIABLE: &str = "GLIBC_TUNABLES";

/// Huge pages where they fit, and one heap, which grows by as much as many of them. Threads that share it keep for themselves
/// what they have freed, up to 500 pieces of each size of up to 8 KiB, which is all that one turn of a node takes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SETTINGS: &str = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:glibc.malloc.top_pad=67108864:glibc.malloc.tcache_max=8192:\
     glibc.malloc.tcache_count=500";

/// Executes the program again if that gives it huge pages. Must be called before there are side effects.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn ask_for() {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    let mut arguments = std::env::args_os();
    if std::env::var_os(VARIABLE).is_none()
        && let (Ok(program), Some(name)) = (std::env::current_exe(), arguments.next())
    {
        let reason = Command::new(program).arg0(name).args(arguments).env(VARIABLE, SETTINGS).exec();
        tracing::debug!(%reason, "the program cannot begin anew with huge pages");
    }
}

/// Does nothing with another allocator.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn ask_for() {}
