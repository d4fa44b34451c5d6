// The application's side of `auth: session`: who may open which workspace, and the ticket for it.
//
//	ROUTER_SECRET=… ROUTER_DOMAIN=code-hub.com LISTEN=127.0.0.1:8080 go run .
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	secret = []byte(os.Getenv("ROUTER_SECRET"))
	domain = os.Getenv("ROUTER_DOMAIN")
	owners = map[string]string{"ws123": "alice"}
	name   = regexp.MustCompile(`^([1-9]\d{0,4})-([a-z0-9](?:[a-z0-9-]*[a-z0-9])?)\.(.+)$`)
)

type claims struct {
	Use     string `json:"use"`
	ID      string `json:"id"`
	Port    int    `json:"port"`
	User    string `json:"user"`
	Nonce   string `json:"nonce"`
	Expires int64  `json:"expires"`
}

func signTicket(c claims) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	signed := "v1." + base64.RawURLEncoding.EncodeToString(payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
}

// signedInUser is your application's own session; here a cookie that says who it is.
func signedInUser(r *http.Request) string {
	cookie, err := r.Cookie("demo_user")
	if err != nil {
		return ""
	}
	return cookie.Value
}

func openWorkspace(w http.ResponseWriter, r *http.Request) {
	target, err := url.Parse(r.URL.Query().Get("to"))
	if err != nil {
		http.Error(w, "not a URL", http.StatusBadRequest)
		return
	}
	// Only names of the routed domain: this endpoint redirects, and must not lead elsewhere.
	parts := name.FindStringSubmatch(strings.ToLower(target.Hostname()))
	if parts == nil || parts[3] != domain || (target.Scheme != "http" && target.Scheme != "https") {
		http.Error(w, "not a name of the routed domain", http.StatusBadRequest)
		return
	}
	user := signedInUser(r)
	if user == "" {
		http.Error(w, "sign in first", http.StatusUnauthorized) // or a redirect to your login page
		return
	}
	if owners[parts[2]] != user {
		http.Error(w, "not your workspace", http.StatusForbidden)
		return
	}
	port, _ := strconv.Atoi(parts[1])
	ticket, err := signTicket(claims{"enter", parts[2], port, user, r.URL.Query().Get("nonce"), time.Now().Unix() + 30})
	if err != nil {
		http.Error(w, "no ticket", http.StatusInternalServerError)
		return
	}
	query := url.Values{"ticket": {ticket}, "path": {target.RequestURI()}}
	http.Redirect(w, r, target.Scheme+"://"+target.Host+"/.router/enter?"+query.Encode(), http.StatusSeeOther)
}

func main() {
	if len(secret) < 32 {
		log.Fatal("ROUTER_SECRET has fewer than 32 characters")
	}
	http.HandleFunc("/open", openWorkspace)
	log.Fatal(http.ListenAndServe(os.Getenv("LISTEN"), nil))
}
