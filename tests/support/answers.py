"""Answers of the documented forms."""

RISK = """\
**Risk Level:** High

**Justification:** A scan of 65 hosts on port 8080.

**Business Impact:** Data could leave the network.

**Likelihood of Malicious Activity:** Medium - Administrators scan too.

**Investigation Priority:** Immediate - The host holds backups."""

CAUSE = """\
**Possible Causes:**

**1. Malicious Activity:**
• A worm looks for its next host.
• Or a person does.

**2. Legitimate Activity:**
• An inventory of the network.

**3. Misconfigurations:**
• A monitor with too wide a range.

**Conclusion:** Malicious activity, most likely.

Ask the owner."""

SUMMARY = """\
============================================================
Incident: 7d0f6a1c-0000-4000-8000-000000000001
Source IP: 192.168.1.7 | Timewindow: 3
Timeline: 2024-01-01 10:00:00 to 2024-01-01 11:00:00
Threat Level: 12.5 | Events: 1,500

• 10:00-10:30 - Scan of port 8080/TCP [HIGH]
• 10:31 - Contact with a listed address [LOW]

Total Evidence: 1500 events
Severity breakdown: High: 1, Low: 1"""
