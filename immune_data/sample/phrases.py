"""What can be said of incidents: tables of phrases, all of them ours.

A slot in braces is filled with what condensed evidence shows: `{src}` and `{dst}` addresses, `{n}`
events from `{a}` to `{b}` on `{port}`, `{all}` addresses, `{item}` (a list's entry, a network, a
MAC address or a hash); `{top}` and `{second}` name what is gravest.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phrases:
    """What can be said of one kind of event.

    In all of them the words critical, high, medium and low are left to the slots that mean a
    level, so that an answer without a level has none.
    """

    gist: tuple[str, ...]
    short: str
    malicious: tuple[str, ...]
    legitimate: tuple[str, ...]
    misconfigured: tuple[str, ...]


BY_KIND = {
    "sweep": Phrases(
        (
            "Port {port}/TCP swept across many hosts in {n} bursts",
            "{src} walks through address space in {n} sweeps, all on port {port}",
            "Horizontal sweep for open {port}/TCP, repeated {n} times",
        ),
        "a horizontal sweep of port {port}/TCP",
        (
            "The sweep of port {port}/TCP looks like reconnaissance ahead of lateral movement.",
            "A worm or bot searching for its next victims on port {port} would leave this trace.",
            "Sweeping many hosts within minutes points to an automated search for open services.",
        ),
        (
            "An inventory or vulnerability scanner on {src} may have run its scheduled job.",
            "A network team mapping services could have started the sweep on purpose.",
        ),
        (
            "A monitoring agent with too wide a target range would probe all those hosts.",
            "Missing egress filtering lets one workstation reach any host on port {port}.",
        ),
    ),
    "command": Phrases(
        (
            "{n} regular check-ins with {dst} on port {port}",
            "Beacon-like traffic to suspected controller {dst}",
        ),
        "regular check-ins with {dst}",
        (
            "Evenly spaced check-ins with {dst} are typical of an implant asking for orders.",
            "The rhythm of the sessions with {dst} fits a command channel rather than a user.",
        ),
        (
            "A licence or update client polling {dst} on a timer would show the same rhythm.",
            "Remote support software may keep a session with {dst} alive by design.",
        ),
        (
            "A health check left pointing at {dst} after a migration may still be running.",
            "An agent that lost its server list can fall back to a fixed address such as {dst}.",
        ),
    ),
    "vertical": Phrases(
        (
            "Many TCP ports of {dst} probed one after another",
            "Vertical sweep of {dst} by {src}, {n} rounds",
        ),
        "a vertical sweep of {dst}",
        (
            "Probing port after port of {dst} suggests a search for a service to exploit.",
            "The vertical sweep singles out {dst}, which an intruder does once a target is chosen.",
        ),
        (
            "A penetration test with {dst} in scope would look exactly like this.",
            "Administrators verifying firewall rules of {dst} may have probed its ports.",
        ),
        (
            "A discovery module left in its most thorough mode probes every port of {dst}.",
            "A load balancer that guesses backend ports can produce such a series.",
        ),
    ),
    "guess": Phrases(
        (
            "SSH log-ins to {dst} fail over and over, {n} series",
            "Password guessing against the SSH service of {dst}",
        ),
        "repeated SSH log-in failures on {dst}",
        (
            "Failed SSH log-ins in such number are a guessing attack on the accounts of {dst}.",
            "Someone holding a list of stolen passwords may be trying them on {dst}.",
        ),
        (
            "A user with an expired key and a retrying script would fail just as often.",
            "A backup job whose credentials were rotated keeps knocking until someone notices.",
        ),
        (
            "An automation account still carries an old password for {dst}.",
            "Key exchange between {src} and {dst} may be broken after an upgrade.",
        ),
    ),
    "rare_port": Phrases(
        (
            "{n} sessions on unassigned ports, such as {port}/TCP of {dst}",
            "{n} connections to port {port}/TCP, which no known service uses, {dst} among them",
            "Traffic to unassigned ports of {all} addresses, port {port} of {dst} among them",
        ),
        "sessions on the unassigned port {port}/TCP",
        (
            "Port {port}/TCP has no registered service; malware likes such ports.",
            "Contact with {dst} on port {port} may be an infected host reporting to its operator.",
            "Odd ports with ever new peers fit a peer-to-peer botnet; {dst} may be one.",
        ),
        (
            "In-house or vendor software may simply listen on port {port}.",
            "A file-sharing or conferencing client picks ports like {port} on its own.",
        ),
        (
            "A service moved to port {port} without an entry in the asset list.",
            "Outbound rules that allow any port hide which of these sessions were meant to exist.",
        ),
    ),
    "plain_tls": Phrases(
        (
            "Port 443 of {dst} used without TLS, {n} sessions",
            "{n} plain-text sessions where TLS is expected, one with {dst}",
        ),
        "plain-text sessions on port 443",
        (
            "Plain text on port 443 is an old way to slip a private protocol past a firewall.",
            "The sessions with {dst} may carry stolen data dressed up as web traffic.",
        ),
        (
            "Some streaming and messaging clients speak their own protocol on port 443.",
            "A probe for captive portals opens port 443 and never starts TLS.",
        ),
        (
            "A proxy that strips TLS before the sensor would make good traffic look plain.",
            "The server at {dst} may offer the wrong service on port 443.",
        ),
    ),
    "retries": Phrases(
        (
            "{src} keeps trying to reach {dst}, {n} series of retries",
            "Repeated reconnection attempts towards {dst} without success",
        ),
        "repeated reconnection attempts to {dst}",
        (
            "Stubborn retries towards {dst} fit an implant whose controller is down.",
            "The retries may be an exploit that fails and starts over.",
        ),
        (
            "A client whose server at {dst} is under maintenance retries in the same way.",
            "Sync software with a short timeout reconnects like this on a poor link.",
        ),
        (
            "A stale address in some configuration still points to {dst}.",
            "A firewall that drops answers from {dst} would force these retries.",
        ),
    ),
    "domain": Phrases(
        (
            "DNS answers for the recently registered name {dst}",
            "Recently registered name {dst} looked up {n} times",
        ),
        "look-ups of the young name {dst}",
        (
            "Names as young as {dst} are often bought for phishing or for one campaign.",
            "Malware that generates names would ask for hosts such as {dst}.",
        ),
        (
            "A product launch or an event page can bring a young name like {dst}.",
            "Content networks rotate host names, and {dst} may be one of theirs.",
        ),
        (
            "A typing error in a bookmark or script may have led to {dst}.",
            "The resolver does not filter recently registered names at all.",
        ),
    ),
    "upload": Phrases(
        (
            "Large upload from {src} to {dst}",
            "{n} uploads towards {dst} on port {port}",
        ),
        "a large upload to {dst}",
        (
            "The upload to {dst} may be collected files on their way out.",
            "Volume and direction of the traffic to {dst} fit data theft.",
        ),
        (
            "An off-site backup of {src} would upload about as much.",
            "A user may have shared recordings or images with a partner at {dst}.",
        ),
        (
            "A log shipper without rotation sends its whole history again and again.",
            "A backup target was set to the public address {dst} instead of the internal one.",
        ),
    ),
    "takeover": Phrases(
        (
            "{n} commands accepted from {dst} on port {port}",
            "Suspected controller {dst} in command of {src}",
        ),
        "commands accepted from {dst}",
        (
            "Commands from {dst} on port {port} mean that somebody else runs this host.",
            "Taking orders from {dst} is the last step of a compromise, and not the first.",
        ),
        (
            "A remote administration tool that was bought and forgotten takes orders as well.",
            "An exercise of the security team could use {dst} as its controller.",
        ),
        (
            "A management agent may have been registered with {dst} by mistake.",
            "The sensor may take an orchestration service at {dst} for a controller.",
        ),
    ),
    "download": Phrases(
        (
            "File with MD5 {item} fetched from {dst}",
            "{n} listed files fetched, one of them from {dst}",
        ),
        "the download of a listed file",
        (
            "The file with MD5 {item} is known, and its arrival marks the infection.",
            "A dropper fetching its payload from {dst} would be seen like this.",
        ),
        (
            "A malware analyst may have fetched the file from {dst} on purpose.",
            "Lists of hashes hold harmless installers now and then.",
        ),
        (
            "The gateway does not inspect what is fetched from hosts such as {dst}.",
            "A mirror at {dst} may serve a package that was replaced long ago.",
        ),
    ),
    "spoofed": Phrases(
        (
            "MAC address {item} answers for {dst}",
            "{n} answers for addresses of other devices, {dst} among them",
        ),
        "answers for the address of another device",
        (
            "The device with MAC address {item} may put itself between {dst} and its peers.",
            "Answering for {dst} is how traffic of the inner network is intercepted.",
        ),
        (
            "A cluster that moves {dst} from one node to the other looks like this.",
            "A replaced network card brings a new MAC address for {dst}.",
        ),
        (
            "Two devices were given the address {dst}.",
            "A virtual machine was copied together with the address {dst}.",
        ),
    ),
    "listed_network": Phrases(
        (
            "Contact with {dst} of the listed network {item}",
            "{n} contacts with listed networks, for example {item}",
        ),
        "contact with listed networks",
        (
            "Networks such as {item} are listed because little else than abuse comes from them.",
            "A bot keeps lists of peers, and {dst} in {item} may be one of them.",
        ),
        (
            "A whole network is listed for a few of its hosts, and {dst} may not be one.",
            "Crawlers and mail servers reach into networks like {item} without any intent.",
        ),
        (
            "The gateway lets connections to {item} pass although the sensor lists it.",
            "The list of networks has not been brought up to date.",
        ),
    ),
    "odd_http": Phrases(
        (
            "Port 80 of {dst} used for something other than HTTP, {n} sessions",
            "{n} sessions on port 80 that speak no HTTP, {dst} among the peers",
        ),
        "non-HTTP sessions on port 80",
        (
            "A protocol other than HTTP on port 80 suggests tunnelling through a permitted port.",
            "Bots often open raw sessions on port 80, as seen with {dst}.",
        ),
        (
            "Some games and telemetry clients use port 80 because it is rarely blocked.",
            "Half-open web sessions that never sent a request are counted here too.",
        ),
        (
            "A service was bound to port 80 by mistake and now answers in its own protocol.",
            "A middlebox that resets requests early leaves sessions without HTTP.",
        ),
    ),
    "listed": Phrases(
        (
            "Contact with {all} addresses of a block list, {dst} ({item}) among them",
            "{n} contacts with listed addresses, for example {dst}",
        ),
        "contact with listed addresses",
        (
            "Listed addresses such as {dst}, entry {item}, hint at hosting that serves malware.",
            "An infected host calling known bad infrastructure would reach {dst}.",
        ),
        (
            "Shared hosting puts harmless sites behind listed addresses such as {dst}.",
            "A security product may contact listed hosts in order to grade them.",
        ),
        (
            "The block list is applied on the sensor but not on the gateway.",
            "An outdated list may still carry {dst} after it changed hands.",
        ),
    ),
    "certificate": Phrases(
        (
            "Self-signed certificate presented by {dst}",
            "{n} sessions rest on a self-signed certificate, {dst} for one",
        ),
        "a self-signed certificate at {dst}",
        (
            "A self-signed certificate at {dst} may hide an interception in the middle.",
            "Control servers are often set up with a certificate that nobody signed.",
        ),
        (
            "Printers, cameras and storage boxes ship with self-signed certificates.",
            "A test system at {dst} may never have received a proper certificate.",
        ),
        (
            "The internal authority that should sign {dst} is not in use there.",
            "Renewal failed and the server fell back to its built-in certificate.",
        ),
    ),
    "model": Phrases(
        (
            "Flow model finds sessions with {dst} suspicious",
            "{n} flows to {dst} marked by the flow model",
        ),
        "flows that the model marks as malicious",
        (
            "The flow model has seen patterns like those towards {dst} in malware before.",
            "Taken with the rest, the marked flows to {dst} support an infection.",
        ),
        (
            "The model errs on rare but harmless software, which may be all there is here.",
            "Bulk transfers resemble the patterns on which the model was trained.",
        ),
        (
            "The model's threshold may be too eager for this network.",
            "Sampling on the sensor distorts flows, and the model judges what is left.",
        ),
    ),
    "private": Phrases(
        (
            "{n} contacts with private addresses, {dst} among them",
            "Private address range probed from {src}, e.g. {dst}",
        ),
        "contacts with private addresses",
        (
            "Reaching for private hosts such as {dst} may be the first step of lateral movement.",
            "An intruder on {src} would look around the inner network in this way.",
        ),
        (
            "Internal services on private addresses are what a workstation uses all day.",
            "File shares and printers explain most contacts with private addresses.",
        ),
        (
            "Routes to private ranges that no longer exist send traffic into the void.",
            "Segmentation between {src} and hosts such as {dst} is missing.",
        ),
    ),
    "no_dns": Phrases(
        (
            "{n} direct connections without a DNS answer, most of them to {dst}",
            "{dst} and others reached by address alone, {n} times",
        ),
        "connections made without DNS",
        (
            "Addresses built into a program, as {dst} seems to be, are common in malware.",
            "Skipping DNS keeps the sessions out of resolver logs, which an attacker may want.",
        ),
        (
            "Content networks and peer-to-peer clients hand out addresses without DNS.",
            "The answer for {dst} may have been cached before the window began.",
        ),
        (
            "Clients using encrypted DNS elsewhere appear here as if they asked nobody.",
            "Resolver traffic bypasses the sensor, so the look-ups are not seen.",
        ),
    ),
    "clear_http": Phrases(
        (
            "Unencrypted HTTP with {dst}, {n} requests",
            "{n} requests travel unencrypted, some to {dst}",
        ),
        "unencrypted HTTP",
        (
            "Loaders fetch their next stage over plain HTTP, which {dst} could be serving.",
            "Credentials sent unencrypted to {dst} could be read on the way.",
        ),
        (
            "Package mirrors and certificate status services still use plain HTTP.",
            "Old devices fetch firmware from {dst} without encryption.",
        ),
        (
            "A redirect to HTTPS is missing on {dst}.",
            "A legacy application on {src} was never moved to HTTPS.",
        ),
    ),
}
STAGES = (
    "The timing between {a} and {b} supports this reading.",
    "All of it falls between {a} and {b}.",
    "With {events} events in one hour this is hard to call an accident.",
    "Events of this kind in the window: {n}.",
    "Nothing in the evidence contradicts it.",
    "A second source would be needed to be sure.",
    "No payload was captured, so this remains an inference.",
)
CONCLUSIONS = (
    "Malicious activity is the most likely cause, above all because of {top}. {src} should be "
    "taken off the network and examined; its outbound sessions of the last days deserve a review.",
    "The evidence leans towards a compromised host. Most weight lies on {top}, while {second} "
    "could still have a harmless origin. Check processes and start-up entries on {src} first.",
    "A mix of malicious activity and weak configuration explains the window best. Confirm with "
    "the owner of {src} whether any of it was planned, then close the ports concerned.",
    "No single cause is proven. Taken together, {top} and {second} make an infection more "
    "probable than a mistake, so that capturing traffic of {src} is the sensible next step.",
    "Given {events} events, with {top} at their head, an automated tool is at work. Whether it "
    "belongs to an attacker can be settled by comparing it with the change calendar.",
)
CALM = (
    "Legitimate activity is the most likely cause: nothing here goes beyond what clients of this "
    "kind do. {top_cap} should be explained once and then be allowed.",
    "The window looks harmless. There is an everyday explanation for {top}, and a look at the "
    "settings of {src} will probably confirm it.",
)
JUSTIFICATIONS = (
    "The window holds {top} and {second}, a combination that rarely has an innocent origin.",
    "To see {top} within one hour, among {events} events, goes beyond normal use of {src}.",
    "The accumulated threat score of {threat} rests mainly on {top}, with {second} in support.",
    "{src} shows {top}; with {second} besides, a coincidence is less plausible.",
    "Several independent detections agree: {top}, then {second}, all from one source.",
)
CALM_JUSTIFICATIONS = (
    "The window holds {top} and {second}, which clients of this kind produce every day.",
    "All {events} events have an everyday explanation; {top} is the most notable of them.",
    "The accumulated threat score of {threat} comes from many small things such as {second}.",
)
SUPPORT = (
    "No successful exploitation was recorded.",
    "The detections carry a confidence close to 1.",
    "Most of the events repeat one pattern.",
    "The destinations have no common owner.",
    "The activity did not stop before the window ended.",
    "Other hosts of the segment stayed quiet.",
    "It is not known which process opened the sessions.",
)
IMPACTS = (
    "Customer records reachable from {src} could leave the company unnoticed.",
    "If the host is under foreign control, neighbouring systems and shared files are exposed.",
    "Services that depend on {src} may fail or have to be shut down for the clean-up.",
    "Beyond the clean-up itself, the address range of the company may end up on block lists.",
    "Stolen credentials would give an intruder a way back after the host is rebuilt.",
    "Little beyond the time of an analyst, unless the sessions carried confidential data.",
)
LIKELIHOODS = (
    "there is seldom another explanation for {second}.",
    "the mix of {top} and {second} fits known campaigns.",
    "the evidence is consistent, although no payload was seen.",
    "benign software could produce a part of it, hardly all.",
    "a single strong indicator is missing, the sum of the weak ones is not.",
)
CALM_LIKELIHOODS = (
    "ordinary software explains {top} and {second}.",
    "nothing in the evidence needs an attacker to explain it.",
    "the events are many, but each of them is harmless.",
)
CALM_PRIORITIES = (
    "a look at the settings of {src} will do.",
    "it can be answered together with other questions to the owner of {src}.",
    "no further harm is expected in the meantime.",
)
PRIORITIES = (
    "every further hour gives an intruder time to spread.",
    "{src} should be isolated before its memory is lost.",
    "the owner of {src} can answer the open questions today.",
    "a look at proxy and DNS logs will confirm or clear it quickly.",
    "it can wait for the next shift if the host is watched meanwhile.",
)
ACTIVITIES = (
    "Reconnaissance and connection attempts",
    "Outbound sessions to unusual endpoints",
    "Suspected control traffic",
    "Sweeping and probing of neighbours",
    "Mixed traffic with several anomalies",
)
BEHAVIOURS = (
    "{src} shows {top} together with {second}, which points to an automated program.",
    "Within the window {src} was busy with {top}; {second} came on top of it.",
    "The source alternates between {top} and {second} without any sign of a user.",
)
RAMBLINGS = (
    "Please note that the severities above were assigned from the list of events alone.",
    "This assessment groups the events by what they seem to want and not by their time.",
    "Further monitoring of the network is needed to find out what the anomalies mean.",
    "Overall the incident indicates active behaviour that must be looked into by the team.",
    "The groups can overlap, since one flow may be reported by more than one module.",
    "It is recommended to update all the systems and to verify the rules of the firewall.",
    "As there is no confirmation of exploitation, the severity reflects potential only.",
    "The source address belongs to a private range and may stand for several devices.",
)
# For texts of an exact length: sentences that say little, at any place, as long answers do.
FILLER = (
    "Analysts should correlate these observations with endpoint telemetry from the same hour.",
    "Comparable windows of the same host were quiet, which makes the change stand out.",
    "The destinations are spread over several ranges and share no visible purpose.",
    "It would help to know which account was logged in while the sessions were opened.",
    "Retention of the raw capture is advisable until the question is settled.",
    "Asset owners may be able to name software that explains a part of the traffic.",
    "A comparison with the previous week would show whether the volume is usual.",
    "Where address translation is in use, the true origin has to be looked up first.",
    "Each of these points can be checked without disturbing the people who use the host.",
    "None of this replaces an examination of the machine itself.",
)
ERRORS = (
    "Incident {id}: LLM query failed - Connection reset.",
    "Incident {id}: LLM query failed - Request timed out.",
    "Incident {id}: LLM query failed - Error code: 503",
    "Incident {id}: LLM query failed - Quota exceeded.",
)
CJK = (
    "**可能原因:**\n\n**1. 恶意活动:**\n"
    "• 主机 {src} 在一小时内产生了 {events} 个事件,大量连接指向 {dst},"
    "符合僵尸网络回连控制服务器的特征。\n"
    "• 连接使用了未登记的端口,说明流量可能来自自动化程序,而不是普通用户的操作。\n\n"
    "**2. 合法活动:**\n"
    "• 备份服务器或监控系统也可能按计划产生类似的连接,需要与资产负责人核实计划任务的时间。\n\n"
    "**3. 配置错误:**\n"
    "• 防火墙出站规则过于宽松,旧的服务地址没有从配置中删除,导致主机不断重试。\n\n"
    "**结论:** 最可能的原因是恶意活动,建议立即隔离该主机,保留内存和流量记录,"
    "并检查最近一周内的所有出站会话。"
)
# First lines of risk answers that name no level: none of these is a level word on its own.
NO_LEVELS = (
    "Moderate",
    "Severe",
    "Highly elevated",
    "风险High级",
    "High_Risk",
    "Elevated (7 of 10)",
)
