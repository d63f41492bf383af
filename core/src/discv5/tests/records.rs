//! Records of the table's nodes: newer ones are fetched, and an entry moves only to an endpoint that answers.

use super::*;

fn stranger() -> Stranger {
    Stranger::new(7, "90.1.1.1:30303")
}

fn entry_addr(net: &Net, stranger: &Stranger) -> Option<SocketAddr> {
    net.discv5(0).table().entry(&stranger.id).map(|entry| entry.contact().udp_addr())
}

fn entry_seq(net: &Net, stranger: &Stranger) -> Option<u64> {
    net.discv5(0).table().entry(&stranger.id).map(|entry| entry.record_seq())
}

#[test]
fn a_newer_record_is_fetched_when_a_pong_or_a_ping_names_its_number() {
    for by_ping in [false, true] {
        let (mut net, mut stranger) = (if by_ping { quiet_victim() } else { victim() }, stranger());
        net.introduce(&mut stranger);
        assert_eq!(entry_seq(&net, &stranger), Some(1));
        stranger.set_record(stranger.addr, 4);
        if by_ping {
            _ = net.say(&mut stranger, &Plain::new(*ID, Payload::Ping { enr_seq: 4 }));
        }
        net.attend(&mut [&mut stranger], secs(if by_ping { 1 } else { 20 }), honest);
        assert_eq!(entry_seq(&net, &stranger), Some(4));
        let kept = net.discv5(0).table().kept(&stranger.id).map(StoredRecord::as_bytes);
        assert_eq!(kept, Some(stranger.record.as_bytes()));
    }
}

#[test]
fn machines_notice_each_others_new_records() {
    let mut net = devnet(3);
    net.run_for(secs(30));
    let at = net.addr(Host(2));
    let record = RecordBuilder::default().endpoint(at, 9999).sign(&**CRYPTO, &net.discv5(2).local.secret, 7).unwrap();
    net.call(2, |machine, _| machine.set_record(record.clone()));
    net.run_for(secs(60));
    let id = *net.discv5(2).local().id();
    for i in [0, 1] {
        assert_eq!(net.discv5(i).table().kept(&id).map(StoredRecord::as_bytes), Some(record.as_bytes()));
    }
}

#[test]
fn an_older_record_replaces_no_newer_one() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    stranger.set_record(stranger.addr, 9);
    net.introduce(&mut stranger);
    // It restarts with an older record.
    stranger.set_record(addr("90.9.9.9:30303"), 8);
    net.introduce(&mut stranger);
    net.attend(&mut [&mut stranger], secs(2), honest);
    assert_eq!((entry_seq(&net, &stranger), entry_addr(&net, &stranger)), (Some(9), Some(stranger.addr)));
}

/// A handshake, and a record that is fetched.
#[test]
fn an_entry_moves_to_the_endpoint_of_its_record_when_that_answers() {
    for by_handshake in [false, true] {
        let (mut net, mut stranger) = (quiet_victim(), stranger());
        net.introduce(&mut stranger);
        let new = addr("92.7.7.7:30404");
        stranger.set_record(new, 2);
        if by_handshake {
            _ = net.send_random(&mut stranger);
            let challenge = net.take_one(&mut stranger).challenge();
            assert_eq!(net.answer(&mut stranger, &challenge), Received::Handled);
        } else {
            _ = net.say(&mut stranger, &Plain::new(*ID, Payload::Ping { enr_seq: 2 }));
        }
        let mut moved = stranger.at("92.7.7.7:30404");
        moved.keys = None;
        net.attend(&mut [&mut stranger], millis(100), honest);
        assert_eq!(entry_addr(&net, &stranger), Some(stranger.addr), "not before it answers");
        net.attend(&mut [&mut stranger, &mut moved], secs(1), honest);
        assert_eq!(entry_addr(&net, &stranger), Some(new));
        assert!(net.discv5(0).table().is_at_record(&stranger.id));
    }
}
