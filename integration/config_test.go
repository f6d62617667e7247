package integration

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

// Config is a node's Caddyfile in parts. In all of them $DIR, $PORT, $TLS and
// $ADMIN stand for the node's folder and ports.
type Config struct {
	Options  string // further global options
	Oose     string // further lines of the oose block
	Stores   string // in place of the two stores disk1 and disk2
	Purchase string // the block of oose_purchase at the plain site
	Prism    string // the block of oose_prism at the plain site
	Before   string // lines of the plain site before our directives
	Sites    string // further sites
	Text     string // the whole Caddyfile, in place of everything else
}

// User and Password are those of the user that every node declares.
const (
	User     = "tester"
	Password = "correct horse battery staple"
)

// passwordHash is cheap on purpose: bcrypt's cost is not what is tested.
var passwordHash = sync.OnceValue(func() string {
	h, err := bcrypt.GenerateFromPassword([]byte(Password), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return string(h)
})

// filter is what every sample configuration has to keep secrets out of logs.
const filter = `format filter {
		request>uri oose_token
		request>headers>X-Oose-Token delete
		request>headers>Referer delete
		resp_headers>Location oose_token
	}`

const twoStores = `store disk1 $DIR/disk1 {
			reserve 1MB
		}
		store disk2 $DIR/disk2 {
			reserve 1MB
		}`

// String is the Caddyfile.
func (c Config) String() string {
	if c.Text != "" {
		return c.Text
	}
	if c.Stores == "" {
		c.Stores = twoStores
	}
	return strings.NewReplacer("<options>", c.Options, "<oose>", c.Oose, "<stores>", c.Stores, "<user>", User+" "+passwordHash(),
		"<before>", c.Before, "<purchase>", block(c.Purchase), "<prism>", block(c.Prism), "<sites>", c.Sites, "<filter>", filter).Replace(`{
	admin 127.0.0.1:$ADMIN
	skip_install_trust
	auto_https disable_redirects
	log {
		level DEBUG
		<filter>
	}
	<options>
	oose {
		name edge1
		domain oose.test
		data $DIR/data
		<stores>
		user <user>
		<oose>
	}
}

http://127.0.0.1:$PORT {
	bind 127.0.0.1
	log {
		<filter>
	}
	<before>
	oose_purchase <purchase>
	oose_prism <prism>
}

<sites>
`)
}

func block(lines string) string {
	if strings.TrimSpace(lines) == "" {
		return ""
	}
	return "{\n" + lines + "\n}"
}

// httpsSite is a site with Caddy's own CA, for HTTP/1.1, 2 and 3.
const httpsSite = `https://localhost:$TLS {
	bind 127.0.0.1
	tls internal
	log {
		` + filter + `
	}
	oose_purchase
	oose_prism
}
`

func TestConfigOfTestsIsValid(t *testing.T) {
	n := Prepare(t, Config{Sites: httpsSite})
	r := n.Run("validate", "--config", n.Path("Caddyfile"), "--adapter", "caddyfile")
	require.Zero(t, r.Code, r.Err)
	require.NoFileExists(t, n.Path("data", "meta", "MANIFEST"), "validate opens no database")
}
