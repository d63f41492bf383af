//! Wireshark's dissectors report no fault in a trace, and show its conversations.
//!
//! Skipped where tshark is not installed; a failure with `CI=true`, unless `PEERLESS_TSHARK` is `none`.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{meeting, meeting_of};
use peerless_tests::skip::skip_without_tshark;
use peerless_trace::record::Options;

fn tshark(arguments: &[&str], file: &Path) -> Option<String> {
    let output = match Command::new("tshark").arg("-n").arg("-r").arg(file).args(arguments).output() {
        Ok(output) => output,
        Err(error) => {
            skip_without_tshark(&error);
            return None;
        }
    };
    let complaints = String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<_> = complaints.lines().filter(|line| !line.contains("Running as user")).collect();
    assert!(output.status.success() && complaints.is_empty(), "{complaints:?}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn written(name: &str, trace: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}.pcapng", std::process::id()));
    std::fs::write(&path, trace).unwrap();
    path
}

#[test]
fn tshark_reads_a_trace_without_warnings() {
    let traces = meeting(Options::default()).into_iter().chain(meeting_of([8, 9], Options::default()));
    for (number, trace) in traces.enumerate() {
        let path = written(&format!("tshark-{number}"), &trace);
        let checked =
            ["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"];
        // Warnings and errors. A reset stream is no fault, and payloads of other protocols are not dissected.
        let bad = "_ws.malformed || tcp.analysis.flags || ip.checksum.status == 0 || tcp.checksum.status == 0 \
                   || udp.checksum.status == 0 || (_ws.expert.severity >= 0x600000 && !tcp.connection.rst)";
        let Some(found) = tshark(&[&checked[..], &["-Y", bad]].concat(), &path) else { return };
        assert_eq!(found, "", "trace {number}");

        let family = if number < 2 { "8.1." } else { "2a00:1::" };
        for protocol in ["udp", "tcp"] {
            let table = tshark(&["-q", "-z", &format!("conv,{protocol}")], &path).unwrap();
            let rows = table.lines().filter(|line| line.contains("<->") && line.contains(family)).count();
            assert!(rows >= 1, "no {protocol} conversation:\n{table}");
        }
        let fields = ["-T", "fields", "-e", "frame.time_epoch"];
        let times = tshark(&fields, &path).unwrap();
        // Custom blocks have a line too, but no time.
        let times: Vec<f64> = times.lines().filter(|line| !line.is_empty()).map(|line| line.parse().unwrap()).collect();
        assert!(times.len() > 20 && times.is_sorted(), "{times:?}");
        assert!((1_750_000_000.0..1_750_000_010.0).contains(&times[0]));
        // Every stream that was opened has ended.
        let opened = tshark(&["-Y", "tcp.flags.syn == 1 && tcp.flags.ack == 1"], &path).unwrap().lines().count();
        let closed = tshark(&["-Y", "tcp.flags.fin == 1 || tcp.flags.reset == 1"], &path).unwrap().lines().count();
        assert!(opened >= 1 && closed >= opened, "{opened} opened, {closed} closed");
        std::fs::remove_file(path).unwrap();
    }
}
