package handshake

import (
	"container/list"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"sync"
)

// A SessionCache keeps a client's session tickets, the least recently used
// going first. Sessions are found by server name, protocol, pins and the
// client's own certificate, so that a session never serves another identity.
// It is safe for concurrent use.
type SessionCache struct{ lru tls.ClientSessionCache }

// NewSessionCache returns a cache of up to n sessions; n < 1 means 64.
func NewSessionCache(n int) *SessionCache {
	return &SessionCache{lru: tls.NewLRUClientSessionCache(n)}
}

func (c *SessionCache) bind(trust [sha256.Size]byte) tls.ClientSessionCache {
	return &boundCache{lru: c.lru, trust: string(trust[:])}
}

type boundCache struct {
	lru   tls.ClientSessionCache
	trust string
}

func (c *boundCache) Get(key string) (*tls.ClientSessionState, bool) { return c.lru.Get(c.trust + key) }
func (c *boundCache) Put(key string, s *tls.ClientSessionState)      { c.lru.Put(c.trust+key, s) }

const (
	// DefaultTickets is how many sessions a server keeps by default.
	DefaultTickets = 1024
	// maxTicket is the longest ticket that leaves a ClientHello with a hybrid
	// key share in two datagrams.
	maxTicket = 512
	ticketID  = 16
	// maxStored bounds one kept session; a longer client certificate chain is
	// not resumed.
	maxStored = 8 << 10
)

// A TicketStore keeps sessions on the server's side whose encrypted tickets
// would be too long, as with client certificates: their ticket is 16 random bytes.
// The least recently used go first. It is safe for concurrent use.
type TicketStore struct {
	mu    sync.Mutex
	limit int
	byID  map[[ticketID]byte]*list.Element
	order list.List // of *storedTicket, most recently used in front
}

type storedTicket struct {
	id    [ticketID]byte
	state []byte
}

// NewTicketStore returns a store of up to n sessions; n < 1 means none.
func NewTicketStore(n int) *TicketStore {
	return &TicketStore{limit: n, byID: make(map[[ticketID]byte]*list.Element)}
}

// Len returns how many sessions are kept.
func (t *TicketStore) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

// attach makes cfg bind its tickets to server name and protocol, and keep those
// that are too long.
func (t *TicketStore) attach(cfg *tls.Config) {
	wrap, unwrap := cfg.WrapSession, cfg.UnwrapSession
	if wrap == nil || unwrap == nil {
		wrap, unwrap = cfg.EncryptTicket, cfg.DecryptTicket
	}
	cfg.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		ss.Extra = append(ss.Extra, binding(&cs))
		ticket, err := wrap(cs, ss)
		if err != nil || len(ticket) <= maxTicket {
			return ticket, err
		}
		return t.put(ss)
	}
	cfg.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		var ss *tls.SessionState
		var err error
		if len(identity) == ticketID {
			ss, err = t.get([ticketID]byte(identity))
		} else {
			ss, err = unwrap(identity, cs)
		}
		if err != nil || ss == nil || len(ss.Extra) == 0 {
			return nil, err
		}
		if string(ss.Extra[len(ss.Extra)-1]) != string(binding(&cs)) {
			return nil, nil // another name's session: a full handshake decides
		}
		return ss, nil
	}
}

// binding is what a ticket is bound to besides the client's certificate, which
// crypto/tls keeps in it.
func binding(cs *tls.ConnectionState) []byte {
	return []byte("godwit\x00" + cs.NegotiatedProtocol + "\x00" + cs.ServerName)
}

func (t *TicketStore) put(ss *tls.SessionState) ([]byte, error) {
	state, err := ss.Bytes()
	if err != nil {
		return nil, err
	}
	e := &storedTicket{state: state}
	if _, err := rand.Read(e.id[:]); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.limit > 0 && len(state) <= maxStored {
		t.byID[e.id] = t.order.PushFront(e)
		for len(t.byID) > t.limit {
			t.remove(t.order.Back())
		}
	}
	return e.id[:], nil
}

// get returns a kept session, nil if it is not there. The session stays: an
// observer of a ClientHello could use up a ticket that serves only once.
func (t *TicketStore) get(id [ticketID]byte) (*tls.SessionState, error) {
	t.mu.Lock()
	var state []byte
	if el := t.byID[id]; el != nil {
		t.order.MoveToFront(el)
		state = el.Value.(*storedTicket).state
	}
	t.mu.Unlock()
	if state == nil {
		return nil, nil
	}
	ss, err := tls.ParseSessionState(state)
	if err != nil {
		return nil, nil
	}
	return ss, nil
}

func (t *TicketStore) remove(el *list.Element) {
	e := el.Value.(*storedTicket)
	delete(t.byID, e.id)
	t.order.Remove(el)
}
