package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/purchase"
)

func purchaseCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "purchase",
		Usage: "[--life <duration>] [--ext <ext>] [--name <name>] [--referrer <pattern>]... [--ip <address>]... [--count <uses>] [--json] <hash>",
		Short: "Makes a purchase of content that is stored, and prints its URL",
		Long: `Makes a purchase: the right to fetch one content for a while, by anyone who
knows its URL.`,
	}, cobra.ExactArgs(1), func(cmd *cobra.Command) action {
		flags := cmd.Flags()
		life := flags.String("life", "", "How long it lives: 90s, 2h, 7d (default: as configured)")
		ext := flags.String("ext", "", "The extension that tells the type it is served as (default: the stored one)")
		name := flags.String("name", "", "The name in the URL")
		referrer := flags.StringArray("referrer", nil, "A regular expression (RE2) that the Referer header must match; may be given several times, one must match")
		ip := flags.StringArray("ip", nil, "An address or prefix that alone may use it; may be given several times")
		count := flags.Int64("count", 0, "How many uses it has (default: any number)")
		return func(ctx context.Context, sh *shell, args []string) error {
			ask := adminapi.PurchaseRequest{
				Hash: strings.ToLower(args[0]), Ext: *ext, Name: *name,
				Referrer: *referrer, IP: *ip, Count: *count,
			}
			if *life != "" {
				ms, err := parseLife(*life)
				if err != nil {
					return err
				}
				ask.Life = ms
			}
			var made adminapi.PurchaseAnswer
			if err := sh.node.call(ctx, http.MethodPost, "/oose/purchase", ask, &made); err != nil {
				return err
			}
			if sh.json {
				return sh.printJSON(made)
			}
			expires, err := strconv.ParseInt(made.Expires, 10, 64)
			if err != nil {
				return fmt.Errorf("reading the answer: %w", err)
			}
			sh.print("url    %s", made.URL)
			sh.print("until  %s", clock(expires))
			return nil
		}
	})
}

func revokeCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "revoke",
		Usage: "[--json] [<token or URL>...|-]",
		Short: "Takes purchases back: their URLs are dead for good",
		Long: `Revokes purchases, by token or by purchase URL. What is being fetched with one
at this moment finishes; everything after that is refused.

Without arguments, or with -, the tokens are read from the standard input, one
on a line: there no list of processes and no shell history shows them.`,
	}, cobra.ArbitraryArgs, func(*cobra.Command) action {
		return func(ctx context.Context, sh *shell, args []string) error {
			tokens, err := readTokens(sh.in, args)
			if err != nil {
				return err
			}
			var failed error
			for _, token := range tokens {
				failed = errors.Join(failed, revoke(ctx, sh, token))
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
			}
			return failed
		}
	})
}

func revoke(ctx context.Context, sh *shell, token purchase.Token) error {
	var answer adminapi.RemoveAnswer
	err := sh.node.call(ctx, http.MethodPost, "/oose/purchase/remove", adminapi.RemoveRequest{Token: string(token)}, &answer)
	if err != nil {
		return fmt.Errorf("revoking %s: %w", token.Short(), err)
	}
	if sh.json {
		return sh.printJSON(map[string]any{"token": token.Short(), "count": answer.Count})
	}
	sh.print("revoked  %s", token.Short())
	return nil
}

// readTokens gathers the tokens that arguments, or else the lines of r, name.
func readTokens(r io.Reader, args []string) ([]purchase.Token, error) {
	if len(args) == 1 && args[0] == "-" {
		args = nil
	}
	if len(args) == 0 {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" {
				args = append(args, line)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("reading the tokens: %w", err)
		}
		if len(args) == 0 {
			return nil, errors.New("no token was given")
		}
	}
	tokens := make([]purchase.Token, len(args))
	for i, arg := range args {
		token, err := findToken(arg)
		if err != nil {
			return nil, err
		}
		tokens[i] = token
	}
	return tokens, nil
}

// findToken reads a token, or takes it from a purchase URL. Its error does not
// repeat what was given: it may be a token with something wrong about it.
func findToken(text string) (purchase.Token, error) {
	token, err := purchase.ParseToken(text)
	if err == nil {
		return token, nil
	}
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '/' || r == '?' }) {
		if token, partErr := purchase.ParseToken(part); partErr == nil {
			return token, nil
		}
	}
	return "", err
}
