package node

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/purchase"
)

// The files in the data folder that are not the engine's.
const (
	identityFile = "node.json"
	keyFile      = "token.key"
)

// identity is who a node is, kept in its data folder from the first start.
type identity struct {
	ID   string `json:"id"`   // random, never changes
	Name string `json:"name"` // the last one that was configured, or that of the host at the first start
}

// loadIdentity reads the node's identity, or makes it. A name that the
// configuration gives replaces the one that was kept.
func loadIdentity(folder, name string) (identity, error) {
	path := filepath.Join(folder, identityFile)
	var id identity
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		id = identity{ID: randomHex(16), Name: hostName()}
	case err != nil:
		return identity{}, fmt.Errorf("reading the node's identity: %w", err)
	default:
		if err := json.Unmarshal(b, &id); err != nil || id.ID == "" || peer.CheckName(id.Name) != nil {
			return identity{}, fmt.Errorf("reading the node's identity: %s is damaged; restore it, or remove it to begin as a new node", path)
		}
	}
	if name != "" {
		id.Name = name
	}
	after, err := json.Marshal(id)
	if err != nil {
		return identity{}, fmt.Errorf("keeping the node's identity: %w", err)
	}
	after = append(after, '\n')
	if string(after) == string(b) {
		return id, nil
	}
	if err := writeFile(path, after); err != nil {
		return identity{}, fmt.Errorf("keeping the node's identity: %w", err)
	}
	return id, nil
}

// hostName makes a node's name of the machine's.
func hostName() string {
	host, err := os.Hostname()
	if err != nil {
		return "oose"
	}
	label, _, _ := strings.Cut(strings.ToLower(host), ".")
	label = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, label)
	label = strings.Trim(label[:min(len(label), 63)], "-")
	if peer.CheckName(label) != nil {
		return "oose"
	}
	return label
}

// tokenKeys returns the keys of token checks, the one that mints first: derived
// from the cluster's secrets, else a random one in the data folder.
func tokenKeys(folder string, secrets []string) ([][]byte, error) {
	if len(secrets) == 0 {
		key, err := localKey(filepath.Join(folder, keyFile))
		return [][]byte{key}, err
	}
	var keys [][]byte
	for _, s := range secrets {
		key, err := purchase.CheckKey([]byte(s))
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// useSecrets takes over the cluster's secrets from a configuration.
func (n *Node) useSecrets(secrets []string) {
	if n.others == nil {
		return
	}
	keys, err := tokenKeys(n.cfg.Data, secrets)
	if err == nil {
		err = n.minter.Use(keys[0], keys[1:]...)
	}
	if err != nil {
		n.log.Error("the cluster's secret is not taken over", zap.Error(err))
		return
	}
	n.others.keys.Use(secrets)
}

const keySize = 32

func localKey(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		b = []byte(randomHex(keySize) + "\n")
		err = writeFile(path, b)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key of tokens: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("reading the key of tokens: %s is damaged; restore it, or remove it to have a new one", path)
	}
	return key, nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// writeFile replaces a file so that a crash leaves the old or the new one.
// Nobody else may read it.
func writeFile(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}
