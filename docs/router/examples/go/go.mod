module example.com/pattern-router-app

go 1.19
