package godwit

import (
	"errors"
	"fmt"
	"net"

	"godwit.example/godwit/internal/shard"
)

// Group is a set of an endpoint's connections that are sent the same messages: a room, a topic, the players near a place. A message for a
// group is copied once for each shard that has members, whatever their number, and takes one place in that shard's mailbox; only
// packets are made for each member, because each connection has keys of its own.
//
// All methods are safe from any goroutine and from a Handler, and none blocks. What one goroutine does with groups and with
// connections takes effect in that order: a member added before Send gets the message, one removed before does not, and
// a Conn.Send before Group.Send arrives first on a channel that keeps order.
//
// A connection that ends, or is closed by this end, leaves its groups by itself. It may be in up to 1,024 groups; a
// membership takes about 50 bytes. A group that is no longer needed is closed, or its numbers stay
// with the shards until the endpoint is closed.
type Group struct {
	ep *Endpoint
	g  *shard.Group
}

// errGroupClosed is returned by methods of a closed Group.
var errGroupClosed = fmt.Errorf("godwit: group is closed: %w", net.ErrClosed)

var (
	errForeign    = errors.New("godwit: the connection is another endpoint's than the group")
	errTooGrouped = fmt.Errorf("godwit: the connection is in %d groups already", shard.MaxGroups)
)

// NewGroup returns a group without members.
func (e *Endpoint) NewGroup() *Group { return &Group{e, shard.NewGroup(e.engine.shards)} }

// Add makes c, a connection of the group's endpoint, a member. A connection that is a member already stays one. Errors: ErrWouldBlock if the
// shard's mailbox is full, those of a connection that is closed or gone, one that is net.ErrClosed if the group is closed,
// and others if the connection is another endpoint's or in too many groups.
func (g *Group) Add(c Conn) error {
	switch {
	case c.ep == nil:
		return errStale
	case c.ep != g.ep:
		return errForeign
	case g.g.Closed():
		return errGroupClosed
	}
	switch g.g.Add(c.ref()) {
	case shard.Sent:
		return nil
	case shard.WouldBlock, shard.NotYet:
		return ErrWouldBlock
	case shard.TooLarge:
		return errTooGrouped
	}
	if g.g.Closed() {
		return errGroupClosed
	}
	return c.closedError()
}

// Remove ends c's membership, if it is a member.
func (g *Group) Remove(c Conn) {
	if c.ep == g.ep && c.ep != nil {
		g.g.Remove(c.ref())
	}
}

// Len returns the number of members. Changes count from the moment they are asked for; a connection that ends counts until its shard has
// noticed, and no more when Handler.Close is called.
func (g *Group) Len() int { return g.g.Len() }

// Send sends m to all members and returns how many it is addressed to: those that Len counts, without those on a shard whose mailbox
// had no room, in which one group may take up to an eighth. These miss the message, which Stats.GroupRefused counts and ErrWouldBlock
// tells: a group to which that happens is sent more than its members can be given. Other errors, with which nobody gets the message, are that of
// a channel or a key that does not exist, and one that is net.ErrClosed if the group is closed.
//
// Each member is charged as by Conn.SendMessage, and for a little of what it will be sent: up to 8 KiB, or a sixteenth of its send buffer, are given back when
// a sender to it alone is refused for them, before Handler.Writable is called. One whose send buffer has no room for a message of a reliable channel, or whose
// peer accepts none so large, is skipped (Stats.GroupSkipped); if m has a Tag, Handler.Outcome tells of it with Refused, and of what
// became of the message at all other members: once for each. On unreliable channels the oldest unsent message gives way.
func (g *Group) Send(m Message) (members int, err error) { return g.SendExcept(Conn{}, m) }

// SendExcept is Send to all members but one, such as the one the message came from. The zero Conn and connections of other endpoints
// except nobody.
func (g *Group) SendExcept(except Conn, m Message) (members int, err error) {
	switch {
	case m.Channel >= maxChannels:
		return 0, errChannel(m.Channel)
	case m.Key > maxKey:
		return 0, errKey(m.Key)
	case g.g.Closed():
		return 0, errGroupClosed
	}
	o := shard.Outbound{Payload: m.Payload, Channel: uint16(m.Channel), Key: m.Key, Tag: m.Tag, TTL: max(m.TTL, 0)}
	members, refused := g.g.Send(&o, except.ref(), except.ep == g.ep)
	g.ep.groupSends.Add(1)
	if refused > 0 {
		g.ep.groupRefused.Add(uint64(refused))
		return members, ErrWouldBlock
	}
	return members, nil
}

// Close ends all memberships; the connections live on. Afterwards Add fails and Send reaches nobody.
func (g *Group) Close() { g.g.Close() }
