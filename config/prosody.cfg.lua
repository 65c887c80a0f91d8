-- Prosody (0.12, 13) with Mostar as an external component (XEP-0114). Tried by scripts/try.
--
-- The first part is global: it stands before the first VirtualHost. The second stands at the end of the file.
-- On Mostar's side:  server: 127.0.0.1:5347   components: [ { domain: sip.example.org, secret: { file: … } } ]

-- Global. Other components may share the port. On another machine: its address, and a firewall.
component_ports = { 5347 }
component_interfaces = { "127.0.0.1" }
-- Else a message waits, up to 40 ms, for the receiving client's system to acknowledge the one before.
network_settings = { nagle = false }
-- Prosody 13 drops messages from blocked contacts without a word; so SIP users are told, as 0.12 and ejabberd tell them.
bounce_blocked_messages = true

-- At the end.
Component "sip.example.org"
	component_secret = "change-me"
	-- When Mostar comes back before its old connection is known to be dead, the new one wins.
	component_conflict_resolve = "kick_old"
-- Conferences of SIP (`rooms: true` at the component, docs/rooms.md) are one more Component like this, with a name of its own.
