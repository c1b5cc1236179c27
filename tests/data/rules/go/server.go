package server

import (
	"crypto/aes"
	"crypto/des"
	"crypto/hmac"
	"crypto/md5"
	crand "crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"database/sql"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"html"
	"html/template"
	"log"
	"math/rand"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"

	"github.com/antchfx/xmlquery"
	"github.com/gin-gonic/gin"
	"github.com/go-ldap/ldap/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/sessions"
	"github.com/lestrrat-go/libxml2/parser"
)

var pages = map[string]string{"home": "/home"}

func people(w http.ResponseWriter, r *http.Request, db *sql.DB) {
	name := r.URL.Query().Get("name")
	query := "SELECT * FROM people WHERE name = '" + name + "'"
	db.Query(query) // finds: go-sql-injection
	db.Query("SELECT * FROM people WHERE name = $1", name)
	number, _ := strconv.Atoi(r.FormValue("number"))
	limited := fmt.Sprintf("SELECT * FROM people LIMIT %d", number)
	db.Query(limited)
}

func stringly(db *sql.DB, name string) {
	db.Exec(fmt.Sprintf("DELETE FROM people WHERE name = '%s'", name)) // finds: go-sql-string
	db.Exec("DELETE FROM people WHERE name = $1", name)
}

func ginPeople(c *gin.Context, db *sql.DB) {
	query := "SELECT * FROM people WHERE name = '" + c.Query("name") + "'"
	db.QueryRow(query)                 // finds: go-sql-injection
	c.Redirect(302, c.Query("next"))   // finds: go-open-redirect
	c.Redirect(302, "/home")
	c.JSON(200, gin.H{"name": c.Query("name")})
}

func command(w http.ResponseWriter, r *http.Request) {
	exec.Command("sh", "-c", "ping "+r.FormValue("host")).Run() // finds: go-command-injection
	exec.Command("ping", "-c", "1", r.FormValue("host")).Run()
	template.New("page").Parse(r.FormValue("page")) // finds: go-code-injection
	template.New("page").Parse("<p>{{.}}</p>")
}

func answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Write([]byte(`{"id":"` + r.FormValue("id") + `"}`))
	fmt.Fprintf(w, "%s", r.FormValue("id"))
}

func page(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("name")
	fmt.Fprintf(w, "<h1>%s</h1>", name) // finds: go-xss
	w.Write([]byte("<h1>" + name + "</h1>")) // finds: go-xss
	fmt.Fprintf(w, "<h1>%s</h1>", html.EscapeString(name))
	http.Get("http://" + name) // finds: go-ssrf
	http.Get("https://a.example")
	os.ReadFile("/srv/" + name) // finds: go-path-traversal
	os.ReadFile(filepath.Join("/srv", filepath.Base(name)))
	http.Redirect(w, r, r.FormValue("next"), http.StatusFound) // finds: go-open-redirect
	http.Redirect(w, r, "/home", http.StatusFound)
	gob.NewDecoder(r.Body) // finds: go-insecure-deserialization
	json.NewDecoder(r.Body)
	xmlquery.Find(doc, "//user[name='"+name+"']") // finds: go-xpath-injection
	xmlquery.Find(doc, "//user")
	ldap.NewSearchRequest("dc=a", 2, 0, 0, 0, false, "(uid="+name+")", nil, nil) // finds: go-ldap-injection
	ldap.NewSearchRequest("dc=a", 2, 0, 0, 0, false, "(uid="+ldap.EscapeFilter(name)+")", nil, nil)
}

func remember(r *http.Request, session *sessions.Session) {
	session.Values["role"] = r.FormValue("role") // finds: go-trust-boundary
	session.Values["colour"] = "red"
	session.ID = r.FormValue("sid") // finds: go-session-fixation
	session.ID = fresh()
}

func parse() int {
	return int(parser.XMLParseNoEnt) // finds: go-xxe
}

func parseSafely() int {
	return int(parser.XMLParseNoBlanks)
}

func tokens(token string, given, password string) {
	jwt.NewParser().ParseUnverified(token, claims) // finds: go-jwt-unverified
	jwt.Parse(token, key, jwt.WithValidMethods([]string{"RS256"}))
	_ = tls.Config{InsecureSkipVerify: true} // finds: go-tls-unverified
	_ = tls.Config{MinVersion: tls.VersionTLS12}
	if givenPassword == user.Password { // finds: go-password-compared
		return
	}
	if password == confirmPassword {
		return
	}
	if subtle.ConstantTimeCompare([]byte(given), []byte(password)) == 1 {
		return
	}
	log.Printf("signed in with %s", password) // finds: go-sensitive-exposure
	log.Printf("signed in as %s", given)
}

func failed(w http.ResponseWriter) {
	http.Error(w, string(debug.Stack()), 500) // finds: go-error-exposed
	http.Error(w, "It failed.", 500)
}

func hidden(key []byte) {
	hmac.New(sha256.New, []byte("a fixed text")) // finds: go-hardcoded-secret
	hmac.New(sha256.New, key)
	des.NewCipher(key) // finds: go-weak-crypto
	aes.NewCipher(key)
	md5.Sum(key) // finds: go-weak-hash
	sha256.Sum256(key)
	os.WriteFile("/srv/a", key, 0777) // finds: go-misconfiguration
	os.WriteFile("/srv/a", key, 0600)
}

func cross(w http.ResponseWriter) {
	w.Header().Set("Access-Control-Allow-Origin", "*") // finds: go-cors
	w.Header().Set("Access-Control-Allow-Origin", "https://a.example")
	http.SetCookie(w, &http.Cookie{Name: "session", Value: "a"}) // finds: go-insecure-cookie
	http.SetCookie(w, &http.Cookie{Name: "session", Value: "a", Secure: true, HttpOnly: true})
}

func drawn() (string, int, []byte) {
	token := strconv.Itoa(rand.Intn(1000000)) // finds: go-weak-random
	colour := rand.Intn(3)
	safeToken := make([]byte, 32)
	crand.Read(safeToken)
	return token, colour, safeToken
}
