//! The command `devnet`: nodes of one network find each other and refuse all others.

mod common;

use common::{last, objects, run, stderr};

#[test]
fn nodes_of_one_network_connect_and_refuse_all_others() {
    let output = run(&["--json", "devnet", "--nodes", "4", "--duration", "6s"]);
    let summary = last(&output);
    assert_eq!(output.status.code(), Some(0), "{summary} {}", stderr(&output));
    assert_eq!((&summary["nodes"], &summary["connected"]), (&4.into(), &4.into()), "{summary}");
    let started = &objects(&output)[0];
    assert!(started["bootnode"].as_str().is_some_and(|enode| enode.starts_with("enode://")), "{started}");
    assert!(started["enr"].as_str().is_some_and(|enr| enr.starts_with("enr:")), "{started}");
    assert_eq!(started["genesis"].as_str().map(str::len), Some(64), "{started}");
    assert_eq!(started["network_id"], 1337, "{started}");
    assert_eq!(summary["intruders"], 0);
    // Sessions with the bootnode alone are three.
    assert!(summary["sessions"].as_u64() >= Some(4), "{summary}");
    assert!(summary["table_mean"].as_f64() >= Some(3.0), "{summary}");
    let refused = summary["refused"].as_object().expect("an object");
    assert!(refused.keys().any(|reason| reason.contains("foreign")), "{summary}");
    assert!(refused.contains_key("wrong MAC of a frame"), "{summary}");
    assert!(refused.contains_key("invalid handshake message"), "{summary}");
    for number in ["banned", "datagrams", "frames"] {
        assert!(summary[number].as_u64() > Some(0), "{summary}");
    }
    assert!(summary["duration_s"].as_f64() >= Some(6.0), "{summary}");
    assert!(objects(&output).iter().any(|object| object["event"] == "banned"));
}
