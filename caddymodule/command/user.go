package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ooseio/oose/caddymodule/adminapi"
)

// userCommand is a group; its commands ask the running node as the others do.
func userCommand() caddycmd.Command {
	members := []caddycmd.Command{
		setUserCommand("add", "Adds a user who may use the API", "If-None-Match"),
		setUserCommand("passwd", "Changes a user's password; the user's sessions end", "If-Match"),
		removeUserCommand(),
		listUsersCommand(),
	}
	return caddycmd.Command{
		Name:  "user",
		Usage: "add|passwd|remove|list",
		Short: "Manages the users of the API",
		Long: `Manages the users who may log in to the API. Users that the configuration
declares are listed, and can be changed only there.`,
		CobraFunc: func(cmd *cobra.Command) {
			needsCommand(cmd)
			for _, m := range members {
				cmd.AddCommand(subcommand(m))
			}
		},
	}
}

// setUserCommand makes the command that adds a user or changes a password; the
// condition says which, and the node refuses where it does not hold.
func setUserCommand(name, short, condition string) caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  name,
		Usage: "[--json] <name>",
		Short: short,
		Long: short + `. The password is asked for without an echo; where
the standard input is no terminal, its first line is the password.`,
	}, cobra.ExactArgs(1), func(*cobra.Command) action {
		return func(ctx context.Context, sh *shell, args []string) error {
			password, err := readPassword(ctx, sh, args[0])
			if err != nil {
				return err
			}
			r, err := sh.node.request(ctx, http.MethodPut, userPath(args[0]), adminapi.PasswordRequest{Password: password})
			if err != nil {
				return err
			}
			r.Header.Set(condition, "*")
			return changeUser(sh, r)
		}
	})
}

func removeUserCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "remove",
		Usage: "[--json] <name>",
		Short: "Removes a user; the user's sessions end",
		Long:  "Removes a user. The user's sessions end at once.",
	}, cobra.ExactArgs(1), func(*cobra.Command) action {
		return func(ctx context.Context, sh *shell, args []string) error {
			r, err := sh.node.request(ctx, http.MethodDelete, userPath(args[0]), nil)
			if err != nil {
				return err
			}
			return changeUser(sh, r)
		}
	})
}

func userPath(name string) string { return "/oose/users/" + url.PathEscape(name) }

// changeUser sends a change of one user and tells what was done.
func changeUser(sh *shell, r *http.Request) error {
	var user adminapi.UserAnswer
	if err := sh.node.callRequest(r, &user); err != nil {
		return err
	}
	if sh.json {
		return sh.printJSON(user)
	}
	done := map[string]string{http.MethodPut: "password is set", http.MethodDelete: "is removed"}[r.Method]
	sh.print("user %s: %s", user.Name, done)
	return nil
}

func listUsersCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "list",
		Usage: "[--json]",
		Short: "Lists the users of the API",
		Long:  "Lists the users who may log in to the API.",
	}, cobra.NoArgs, func(*cobra.Command) action {
		return func(ctx context.Context, sh *shell, _ []string) error {
			var list adminapi.UsersAnswer
			if err := sh.node.call(ctx, http.MethodGet, "/oose/users", nil, &list); err != nil {
				return err
			}
			if sh.json {
				return sh.printJSON(list)
			}
			rows := []string{"USER\tDECLARED IN THE CONFIGURATION"}
			for _, u := range list.Users {
				rows = append(rows, clip(u.Name, 64)+"\t"+yesNo(u.Declared))
			}
			return table(sh.out, rows...)
		}
	})
}

// readPassword asks for a password twice on a terminal, without an echo, and
// otherwise takes the first line of the standard input.
func readPassword(ctx context.Context, sh *shell, user string) (string, error) {
	f, ok := sh.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return readLine(sh.in)
	}
	fd := int(f.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("asking for the password: %w", err)
	}
	// Reading from the terminal can't be interrupted: leave it as it was.
	stop := context.AfterFunc(ctx, func() {
		_ = term.Restore(fd, state)
		fmt.Fprintln(sh.err)
		os.Exit(exitInterrupted)
	})
	defer stop()
	first, err := ask(fd, sh.err, "New password of "+clip(user, 64)+": ")
	if err != nil {
		return "", err
	}
	second, err := ask(fd, sh.err, "Once more: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passwords differ, nothing was changed")
	}
	return first, nil
}

func ask(fd int, w io.Writer, prompt string) (string, error) {
	fmt.Fprint(w, prompt)
	password, err := term.ReadPassword(fd)
	fmt.Fprintln(w)
	if err != nil {
		return "", fmt.Errorf("asking for the password: %w", err)
	}
	return string(password), nil
}

// readLine returns the first line of r without its end.
func readLine(r io.Reader) (string, error) {
	const maxPassword = 4 << 10
	line, err := bufio.NewReader(io.LimitReader(r, maxPassword)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("the first line of the standard input is to be the password, and it is empty")
	}
	return line, nil
}
